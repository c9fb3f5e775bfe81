import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { LabProcess } from '../../../shared/lab/lab-process.ts'
import type { Place } from '../../../shared/lab/place.ts'

const PROBE = fileURLToPath(new URL('./heap-probe.ts', import.meta.url))

/** What a Node process holds. */
export interface Footprint {
  readonly rssBytes: number
  readonly heapBytes: number
}

/** Measured after a garbage collection, through the inspector, which SIGUSR1 opens. */
export async function footprint(place: Place, running: LabProcess): Promise<Footprint> {
  running.kill('SIGUSR1')
  const { code, stdout, stderr } = await place.exec(process.execPath, [PROBE])
  if (code !== 0) throw new Error(`heap of ${running.title}: ${stderr}`)
  const status = readFileSync(`/proc/${running.pid}/status`, 'latin1')
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]
  return { rssBytes: Number(kilobytes) * 1_024, heapBytes: Number(stdout) }
}

export const descriptorsOf = ({ pid }: LabProcess): number => readdirSync(`/proc/${pid}/fd`).length
