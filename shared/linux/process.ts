import { readdirSync, readFileSync } from 'node:fs'
import { namespaceKeyAt } from './namespace.ts'

/**
 * When a process started, in ticks since boot (`/proc/PID/stat`, field 22): with the pid it names one process, even
 * after the pid is used again. Undefined if there is no such process, or only its remains (a zombie).
 */
export function startTimeOf(pid: number): string | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The name (field 2) may hold spaces and parentheses, so counting begins behind the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}

/** The processes whose main thread is in the namespace. */
export function processesIn(namespaceKey: string): number[] {
  return processesInAny(new Set([namespaceKey]))
}

/** The same for several namespaces, in one look at the process table. */
export function processesInAny(namespaceKeys: ReadonlySet<string>): number[] {
  if (namespaceKeys.size === 0) return []
  const found: number[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const key = keyOfProcess(entry)
    if (key !== undefined && namespaceKeys.has(key)) found.push(Number(entry))
  }
  return found
}

/** Undefined too for a process that has just ended. */
function keyOfProcess(pid: string): string | undefined {
  try {
    return namespaceKeyAt(`/proc/${pid}/ns/net`)
  } catch {
    return undefined
  }
}
