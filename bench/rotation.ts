import { existsSync, truncateSync } from 'node:fs'
import { describeError } from '../shared/runtime/errors.ts'
import { isWorthwhile, type Plan } from './plan.ts'
import { memoryOf, usageOf } from './process-usage.ts'
import { hopMoves, readHops } from './proof.ts'
import type { RawCell, Run } from './results.ts'
import type { RunningTopology, Topology } from './topology/topology.ts'
import type { Workload } from './workload/workload.ts'

export interface RotationOptions {
  readonly plan: Plan
  readonly running: ReadonlyMap<Topology, RunningTopology>
  /** Told of each run that is done, for people who wait. */
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

type GrowingCell = Omit<RawCell, 'runs' | 'failures'> & { runs: Run[]; failures: string[] }

/** Not counted: code that has never run is slow at first. */
const WARM_UP_MS = 1_000

/**
 * Each workload in turns: every topology once, then every one again, so that a machine that drifts does so for all.
 * A run that fails is recorded and the others go on.
 */
export async function rotate(options: RotationOptions): Promise<readonly RawCell[]> {
  const { plan } = options
  const cells: RawCell[] = []
  for (const workload of plan.workloads) {
    const own = plan.topologies
      .filter((topology) => isWorthwhile(topology, workload))
      .filter(
        (topology) =>
          !workload.needsProxies || (options.running.get(topology)?.proxies.length ?? 0) > 0,
      )
      .map((topology): GrowingCell => ({ workload, topology, runs: [], failures: [] }))
    cells.push(...own)
    await turns(own, workload, options)
  }
  return cells
}

async function turns(
  cells: readonly GrowingCell[],
  workload: Workload,
  options: RotationOptions,
): Promise<void> {
  const { plan, say, signal } = options
  const rounds = workload.rounds === 'one' ? 1 : plan.rounds
  // A quick run has had its one warm-up before.
  const first = plan.quick || workload.rounds === 'one' ? 1 : 0
  for (let round = first; round <= rounds; round++) {
    for (const cell of cells) {
      signal.throwIfAborted()
      const label = `${workload.name}, ${cell.topology.name}, ${round === 0 ? 'warm-up' : `round ${round} of ${rounds}`}`
      try {
        const durationMs = round === 0 ? Math.min(WARM_UP_MS, plan.durationMs) : plan.durationMs
        const run = await runOnce(cell, durationMs, options)
        if (round > 0) cell.runs.push(run)
        say(`${label}: ${run.value.toFixed(2)} ${workload.figure.unit}`)
      } catch (error) {
        signal.throwIfAborted()
        cell.failures.push(`round ${round}: ${describeError(error)}`)
        say(`${label}: failed: ${describeError(error)}`)
      }
    }
  }
}

async function runOnce(
  { workload, topology }: GrowingCell,
  durationMs: number,
  { plan, running: all }: RotationOptions,
): Promise<Run> {
  const running = all.get(topology)
  if (running === undefined) throw new TypeError(`${topology.name} was not started`)
  for (const log of running.logs) if (existsSync(log)) truncateSync(log)
  const hopsBefore = await readHops(running.hops)
  const before = running.proxies.map(({ pids }) => usageOf(pids))
  const outcome = await workload.run({ topology, running, durationMs, quick: plan.quick })
  const proxies = running.proxies.map(({ name, pids }, index) => {
    const now = usageOf(pids)
    const then = before[index] ?? now
    return {
      name,
      cpuSeconds: now.cpuSeconds - then.cpuSeconds,
      contextSwitches: now.contextSwitches - then.contextSwitches,
      ...memoryOf(pids),
    }
  })
  const hops = await hopMoves(running.hops, hopsBefore, 1)
  return { ...outcome, proxies, hops }
}
