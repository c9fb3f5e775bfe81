import { descriptorLimit } from '../../shared/linux/descriptors.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { pause } from '../../shared/runtime/lifecycle.ts'
import { APP_PORTS } from '../apps.ts'
import { loadPath } from '../load/load-path.ts'
import { memoryOf } from '../process-usage.ts'
import type { Topology } from '../topology/topology.ts'
import type { Outcome, RunContext, Workload } from './workload.ts'

const ACROSS_NODES = 10_000
const ONE_PROCESS_BOTH_ENDS = 5_000
const QUICK = 1_000
/** Of each process, for everything else that it has open. */
const RESERVED_DESCRIPTORS = 2_000
const HOLD_MS = 2_000
/** Proxies are read after this much silence. */
const SETTLE_MS = 1_000
const OPEN_MS = 60_000
const ALIVE_MS = 60_000

export const idleConnections: Workload = {
  name: 'idle-connections',
  about:
    'connections that carry a byte and then nothing: what each adds to the memory of the proxies',
  apps: ['echo'],
  figure: { name: 'memory per connection', unit: 'KiB', better: 'lower' },
  inQuick: true,
  opensConnections: false,
  needsProxies: true,
  rounds: 'one',
  run: holdIdle,
}

/** As many as wanted, or as the descriptor limit of a process leaves room for. */
export function idleCount(
  topology: Pick<Topology, 'descriptorsPerConnection' | 'bothEndsInOneProcess'>,
  limit: number,
  quick: boolean,
): number {
  const full = topology.bothEndsInOneProcess ? ONE_PROCESS_BOTH_ENDS : ACROSS_NODES
  const wanted = quick ? QUICK : full
  const room = Math.floor((limit - RESERVED_DESCRIPTORS) / topology.descriptorsPerConnection)
  return Math.max(1, Math.min(wanted, room))
}

async function holdIdle({ topology, running, quick }: RunContext): Promise<Outcome> {
  const limit = descriptorLimit()
  const count = idleCount(topology, limit, quick)
  const pids = running.proxies.flatMap((proxy) => proxy.pids)
  const before = memoryOf(pids)
  const began = performance.now()
  const app = running.client.spawn(process.execPath, [
    loadPath('idle-app'),
    '--host',
    running.host('echo'),
    '--port',
    String(APP_PORTS.echo),
    '--connections',
    String(count),
    '--hold',
    String(HOLD_MS),
  ])
  try {
    const opened = await app.waitForLine(/^open \d+ failed \d+/, OPEN_MS)
    const [open = 0, failed = 0] = numbersOf(opened)
    const openedMs = performance.now() - began
    if (open === 0) throw new AmbitError('BENCH_LOAD', 'no idle connection could be opened')
    await pause(SETTLE_MS)
    const after = memoryOf(pids)
    const [alive = 0] = numbersOf(await app.waitForLine(/^alive \d+$/, ALIVE_MS))
    return {
      value: (after.pssBytes - before.pssBytes) / open / 1_024,
      seconds: (performance.now() - began) / 1_000,
      errors: count - alive,
      notes: [
        `${open} of ${count} connections (the limit is ${limit} descriptors a process), opened in ${(openedMs / 1_000).toFixed(1)} s, ${alive} alive after the hold`,
        ...(failed > 0 ? [`opening ended with: ${opened}`] : []),
      ],
    }
  } finally {
    await app.stop()
  }
}

const numbersOf = (line: string): readonly number[] =>
  [...line.matchAll(/\d+/g)].map(([digits]) => Number(digits))
