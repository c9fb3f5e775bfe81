import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ, the same on every Linux that Node runs on. */
const TICKS_A_SECOND = 100

/** What processes have used since they began. */
export interface Usage {
  /** User and system time. */
  readonly cpuSeconds: number
  /** Voluntary and not. */
  readonly contextSwitches: number
}

export interface Memory {
  readonly rssBytes: number
  /** Shared pages by their share (proportional set size). */
  readonly pssBytes: number
}

/** Of all these processes together; throws if one is gone. */
export function usageOf(pids: readonly number[]): Usage {
  let cpuSeconds = 0
  let contextSwitches = 0
  for (const pid of pids) {
    cpuSeconds += parseCpuSeconds(readFileSync(`/proc/${pid}/stat`, 'latin1'))
    contextSwitches += contextSwitchesOf(pid)
  }
  return { cpuSeconds, contextSwitches }
}

/** The same for memory. */
export function memoryOf(pids: readonly number[]): Memory {
  let rssBytes = 0
  let pssBytes = 0
  for (const pid of pids) {
    const memory = parseRollup(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))
    rssBytes += memory.rssBytes
    pssBytes += memory.pssBytes
  }
  return { rssBytes, pssBytes }
}

/** Fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold anything. */
export function parseCpuSeconds(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND
}

export function parseRollup(text: string): Memory {
  const bytes = (name: string): number => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
    return Number(match?.[1] ?? Number.NaN) * 1_024
  }
  return { rssBytes: bytes('Rss'), pssBytes: bytes('Pss') }
}

/** Both kinds, of one thread. */
export function parseContextSwitches(status: string): number {
  let sum = 0
  for (const [, count] of status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm)) {
    sum += Number(count)
  }
  return sum
}

/** A process and those below it: a master's worker does the work. */
export function processTree(pid: number): readonly number[] {
  const children = new Map<number, number[]>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const parent = parentOf(entry)
    if (parent === undefined) continue
    const siblings = children.get(parent)
    if (siblings === undefined) children.set(parent, [Number(entry)])
    else siblings.push(Number(entry))
  }
  const tree = [pid]
  for (let at = 0; at < tree.length; at++) tree.push(...(children.get(tree[at] ?? 0) ?? []))
  return tree
}

function contextSwitchesOf(pid: number): number {
  let sum = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      sum += parseContextSwitches(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'))
    } catch {
      // A thread that has just ended.
    }
  }
  return sum
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined
  }
}
