import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { AmbitError, describeError } from '../../shared/runtime/errors.ts'
import { forbidMigration } from './migration.ts'
import {
  captureRuleset,
  isOwner,
  LIST_OWNER,
  releaseRuleset,
  removeRoutingCommands,
  removeRuleset,
  routingCommands,
} from './rules.ts'

/** No command here does more than a few system calls; one that hangs is ended. */
const COMMAND_TIMEOUT_MS = 5_000
const OUTPUT_LIMIT = 4_096

/**
 * Puts the capture rules of a pod of `node` in place; repairs whatever an earlier process left. Safe to repeat, also
 * under traffic. Listeners must be open before. Throws `CAPTURE_RULES` with what the tool said.
 */
export async function installCapture(namespace: NetworkNamespace, node: string): Promise<void> {
  checkDefaultRoute(namespace)
  // Replies find their way back before the first connection is redirected.
  await setRouting(namespace)
  await nft(namespace, captureRuleset(node))
}

/** First step of release: new connections are no longer redirected, open ones live on. */
export async function stopRedirecting(namespace: NetworkNamespace, node: string): Promise<void> {
  await nft(namespace, releaseRuleset(node))
}

/**
 * Last step of release: removes everything that `installCapture` made. Safe to repeat. Also sets back
 * `tcp_migrate_req`, unless it was not ours to set.
 */
export async function removeCapture(
  namespace: NetworkNamespace,
  { keepMigration = false } = {},
): Promise<void> {
  if (!keepMigration) forbidMigration(namespace)
  await nft(namespace, removeRuleset)
  for (const family of families(namespace)) {
    await runIn(namespace, 'ip', [`-${family}`, '-force', '-batch', '-'], removeRoutingCommands)
  }
}

/** Whether rules of ours are in place, from this or an earlier process. */
export async function isCaptured(namespace: NetworkNamespace): Promise<boolean> {
  return (await runIn(namespace, 'nft', LIST_OWNER, '')).code === 0
}

/** The same, if this node put them there. */
export async function isCapturedBy(namespace: NetworkNamespace, node: string): Promise<boolean> {
  const { code, stdout } = await runIn(namespace, 'nft', LIST_OWNER, '')
  return code === 0 && isOwner(stdout, node)
}

async function setRouting(namespace: NetworkNamespace): Promise<void> {
  for (const family of families(namespace)) {
    const args = [`-${family}`, '-force', '-batch', '-']
    const { stderr } = await runIn(namespace, 'ip', args, routingCommands(family))
    // A rule that is there already is refused as existing, and that is fine.
    const failure = stderr
      .replaceAll(/RTNETLINK answers: File exists|Command failed -:\d+/g, '')
      .trim()
    if (failure !== '') throw new AmbitError('CAPTURE_RULES', `ip -${family}: ${failure}`)
  }
}

async function nft(namespace: NetworkNamespace, ruleset: string): Promise<void> {
  const { code, stderr } = await runIn(namespace, 'nft', ['-f', '-'], ruleset)
  if (code !== 0) throw new AmbitError('CAPTURE_RULES', `nft: ${stderr.trim()}`)
}

const families = (namespace: NetworkNamespace): readonly (4 | 6)[] =>
  namespace.hasIpv6() ? [4, 6] : [4]

/** Without a default route the kernel refuses a service's address before any rule of ours sees the packet. */
function checkDefaultRoute(namespace: NetworkNamespace): void {
  const { v4, v6 } = namespace.run(() => ({
    v4: readFileSync('/proc/thread-self/net/route', 'utf8'),
    v6: namespaceFile('/proc/thread-self/net/ipv6_route'),
  }))
  const hasV4 = v4
    .split('\n')
    .some((line) => /^\S+\t0{8}\t.*\t0{8}\t\d+\t\d+\t\d+$/.test(line.trim()))
  const hasV6 = v6.split('\n').some((line) => /^0{32} 00 .* (?!lo$)\S+$/.test(line.trim()))
  if (!hasV4 && !hasV6) {
    throw new AmbitError(
      'CAPTURE_NO_ROUTE',
      'the namespace has no default route: without one, service addresses are unreachable; add one (ip route add default ...)',
    )
  }
}

function namespaceFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A child process lives in the namespace of the thread that forked it. */
function runIn(
  namespace: NetworkNamespace,
  command: string,
  args: readonly string[],
  input: string,
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = namespace.run(() =>
      spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: COMMAND_TIMEOUT_MS }),
    )
    const stdout = collect(child.stdout)
    const stderr = collect(child.stderr)
    child.once('error', (error) => {
      reject(
        new AmbitError('CAPTURE_RULES', `${command}: ${describeError(error)}`, { cause: error }),
      )
    })
    child.once('close', (code) => resolve({ code, stdout: stdout(), stderr: stderr() }))
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}

/** What it prints, up to a bound. */
function collect(stream: Readable): () => string {
  let text = ''
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    if (text.length < OUTPUT_LIMIT) text += chunk
  })
  return () => text
}
