import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { namespaceKeyAt } from '../linux/namespace.ts'
import { processesInAny } from '../linux/process.ts'
import { pause } from '../runtime/lifecycle.ts'
import { ipHost } from './command.ts'
import { forget, knownLabs, RECORDS } from './record.ts'

export const NAMESPACES = '/var/run/netns'
/** Where `ip netns exec` looks for files that stand in for those in `/etc`. */
export const HOSTS = '/etc/netns'

const LOOK_MS = 10
const TERM_GRACE_MS = 2_000
const KILL_GRACE_MS = 2_000

/**
 * Removes what labs have left whose owner is dead, and gives their ids. Labs with a living owner are not touched.
 * To be called with the machine lock held.
 */
export async function removeLeftovers(): Promise<string[]> {
  const dead = knownLabs().filter(({ ownerAlive }) => !ownerAlive)
  for (const { id, record } of dead) await removeLab(id, record.prefix)
  return dead.map(({ id }) => id)
}

/** Ends every process of a lab and removes everything it made, the record last, so that a cut is made good later. */
export async function removeLab(id: string, prefix: string): Promise<void> {
  const names = namesWith(NAMESPACES, prefix)
  await endProcessesIn(names.map((name) => join(NAMESPACES, name)))
  await ipHost(names.map((name) => `netns delete ${name}`))
  for (const name of namesWith(HOSTS, prefix)) {
    rmSync(join(HOSTS, name), { recursive: true, force: true })
  }
  rmSync(join(RECORDS, id), { recursive: true, force: true })
  forget(id)
}

/** SIGTERM to every process in the namespaces, SIGKILL to those that are left after two seconds. */
export async function endProcessesIn(paths: readonly string[]): Promise<void> {
  const keys = new Set<string>()
  for (const path of paths) {
    const key = namespaceKeyAt(path)
    if (key !== undefined) keys.add(key)
  }
  // A name that somebody bound to the machine's own namespace must not end the machine.
  keys.delete(namespaceKeyAt('/proc/self/ns/net') ?? '')
  if (await endWith('SIGTERM', keys, TERM_GRACE_MS)) return
  await endWith('SIGKILL', keys, KILL_GRACE_MS)
}

/** Signals each process once; whether all have ended in time. */
async function endWith(
  signal: NodeJS.Signals,
  keys: ReadonlySet<string>,
  graceMs: number,
): Promise<boolean> {
  const until = performance.now() + graceMs
  const signalled = new Set<number>()
  for (;;) {
    const pids = processesInAny(keys)
    if (pids.length === 0) return true
    if (performance.now() > until) return false
    for (const pid of pids) {
      if (signalled.has(pid)) continue
      signalled.add(pid)
      signalProcess(pid, signal)
    }
    await pause(LOOK_MS)
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended between the look and the signal.
  }
}

function namesWith(folder: string, prefix: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.startsWith(prefix))
  } catch {
    return []
  }
}
