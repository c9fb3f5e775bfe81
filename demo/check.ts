import { existsSync, readdirSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { startTimeOf } from '../shared/linux/process.ts'
import { describeError } from '../shared/runtime/errors.ts'
import {
  checkPeerAddress,
  checkPolicy,
  checkRedis,
  checkStrict,
  checkWithoutControlPlane,
} from './check-access.ts'
import { checkCertificates } from './check-identity.ts'
import { checkWire } from './check-wire.ts'
import { RunningShop } from './running-shop.ts'
import { type Sabotage, sabotage } from './sabotage.ts'
import { failed, passed, type Verdict } from './verdict.ts'

interface Check {
  readonly name: string
  readonly run: (shop: RunningShop) => Promise<Verdict>
}

/** In this order: the last one leaves the mesh without its control plane. */
const CHECKS: readonly Check[] = [
  { name: 'encrypted on the wire', run: checkWire },
  { name: 'identity', run: checkCertificates },
  { name: 'caller address', run: checkPeerAddress },
  { name: 'policy change', run: checkPolicy },
  { name: 'plaintext and STRICT', run: checkStrict },
  { name: 'redis', run: checkRedis },
  { name: 'without control plane', run: checkWithoutControlPlane },
]

/**
 * Brings the demo up, judges it by what can be seen from outside the mesh, and removes it. Prints a line a check;
 * resolves with 0 when all passed, else 1. Rejects when the demo does not come up or `stop` aborts.
 */
export async function checkDemo(
  print: (line: string) => void,
  stop: AbortSignal,
  sabotaged: Sabotage | undefined,
): Promise<number> {
  const started = performance.now()
  const shop = await RunningShop.start(() => undefined, stop)
  let allOk = true
  const report = (name: string, { ok, seen }: Verdict): void => {
    allOk &&= ok
    print(`${ok ? 'ok  ' : 'FAIL'} ${name.padEnd(22)} ${seen}`)
  }
  const traces = tracesOf(shop)
  try {
    report('start', passed(`${shop.pods.length} pods after ${secondsSince(started)} s`))
    if (sabotaged !== undefined) await sabotage(shop, sabotaged)
    for (const { name, run } of CHECKS) {
      stop.throwIfAborted()
      report(name, await run(shop).catch((error: unknown) => failed(describeError(error))))
    }
  } finally {
    await shop[Symbol.asyncDispose]()
  }
  report('removal', traces())
  print(`${allOk ? 'all checks passed' : 'some checks FAILED'} in ${secondsSince(started)} s`)
  return allOk ? 0 : 1
}

/** Notes what the demo has on this machine; the result tells whether any of it is still there. */
function tracesOf(shop: RunningShop): () => Verdict {
  const { prefix, directory } = shop.lab
  const processes = shop.processes.flatMap(({ pid, title }) =>
    pid === undefined ? [] : [{ pid, title, startTime: startTimeOf(pid) }],
  )
  return () => {
    const left = [
      ...namesIn('/var/run/netns', prefix),
      ...namesIn('/etc/netns', prefix),
      ...processes.filter((one) => startTimeOf(one.pid) === one.startTime).map((one) => one.title),
      ...(existsSync(directory) ? [directory] : []),
      ...Object.keys(networkInterfaces()).filter((link) => link.startsWith('ambit')),
    ]
    if (left.length > 0) return failed(`still there: ${left.join(', ')}`)
    return passed(`no namespace, process, name or file of ${prefix.slice(0, -1)} is left`)
  }
}

function namesIn(folder: string, prefix: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => name.startsWith(prefix))
  } catch {
    return []
  }
}

const secondsSince = (started: number): string => ((performance.now() - started) / 1_000).toFixed(1)
