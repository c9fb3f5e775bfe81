import { z } from 'zod'
import type { Plan } from './plan.ts'
import type { Proof } from './proof.ts'
import { isBetter, ratioOf, type Spread, spreadOf } from './statistics.ts'
import type { Topology } from './topology/topology.ts'
import type { Workload } from './workload/workload.ts'

/** The shape of `results.json`. Times are seconds unless a name says otherwise; sizes are bytes. */

const SpreadSchema = z.object({ median: z.number(), min: z.number(), max: z.number() })
const HopMoveSchema = z.object({
  name: z.string(),
  connections: z.number(),
  bytes: z.number().optional(),
})

const ProxyRunSchema = z.object({
  name: z.string(),
  cpuSeconds: z.number(),
  contextSwitches: z.number(),
  rssBytes: z.number(),
  pssBytes: z.number(),
})

const RunSchema = z.object({
  value: z.number(),
  seconds: z.number(),
  requests: z.number().optional(),
  bytes: z.number().optional(),
  latencyMs: z
    .object({ p50: z.number(), p90: z.number(), p99: z.number(), p999: z.number() })
    .optional(),
  errors: z.number(),
  notes: z.array(z.string()).readonly().optional(),
  proxies: z.array(ProxyRunSchema).readonly(),
  hops: z.array(HopMoveSchema).readonly(),
})

const ProxySummarySchema = z.object({
  name: z.string(),
  cpuSecondsPer1000Requests: SpreadSchema.optional(),
  cpuSecondsPerGb: SpreadSchema.optional(),
  contextSwitchesPerSecond: SpreadSchema,
  rssBytes: SpreadSchema,
  pssBytes: SpreadSchema,
})

const SummarySchema = z.object({
  value: SpreadSchema,
  /** Of the medians, to the better variant of each family in this run. */
  ratios: z.record(z.string(), z.number()),
  p50Ms: SpreadSchema.optional(),
  p90Ms: SpreadSchema.optional(),
  p99Ms: SpreadSchema.optional(),
  p999Ms: SpreadSchema.optional(),
  /** Of all proxies of the path together. */
  cpuSecondsPer1000Requests: SpreadSchema.optional(),
  cpuSecondsPerGb: SpreadSchema.optional(),
  proxies: z.array(ProxySummarySchema).readonly(),
})

const CellSchema = z.object({
  workload: z.string(),
  topology: z.string(),
  runs: z.array(RunSchema).readonly(),
  /** Why runs are missing. */
  failures: z.array(z.string()).readonly(),
  summary: SummarySchema.optional(),
})

export const ResultsSchema = z.object({
  schema: z.literal(1),
  startedAt: z.string(),
  took: z.number(),
  machine: z.record(z.string(), z.string()),
  options: z.object({
    quick: z.boolean(),
    durationMs: z.number(),
    rounds: z.number(),
    baseline: z.string(),
  }),
  topologies: z
    .array(
      z.object({
        name: z.string(),
        about: z.string(),
        family: z.string(),
        encrypted: z.boolean(),
        proof: z.object({
          frames: z.number(),
          framesThatShowThePayload: z.number(),
          hops: z.array(HopMoveSchema).readonly(),
        }),
      }),
    )
    .readonly(),
  workloads: z
    .array(
      z.object({
        name: z.string(),
        about: z.string(),
        figure: z.object({
          name: z.string(),
          unit: z.string(),
          better: z.enum(['higher', 'lower']),
        }),
      }),
    )
    .readonly(),
  cells: z.array(CellSchema).readonly(),
})

export type Results = Readonly<z.infer<typeof ResultsSchema>>
export type Cell = Readonly<z.infer<typeof CellSchema>>
export type Run = Readonly<z.infer<typeof RunSchema>>
export type Summary = Readonly<z.infer<typeof SummarySchema>>
type ProxySummary = z.infer<typeof ProxySummarySchema>

/** The runs of one workload on one topology, before anything is compared. */
export interface RawCell {
  readonly workload: Workload
  readonly topology: Topology
  readonly runs: readonly Run[]
  readonly failures: readonly string[]
}

export interface ResultsInput {
  readonly plan: Plan
  readonly startedAt: Date
  readonly tookSeconds: number
  readonly machine: Readonly<Record<string, string>>
  readonly proofs: ReadonlyMap<string, Proof>
  readonly cells: readonly RawCell[]
}

export function resultsOf(input: ResultsInput): Results {
  const { plan, proofs, cells } = input
  const { quick, durationMs, rounds, baseline } = plan
  return {
    schema: 1,
    startedAt: input.startedAt.toISOString(),
    took: input.tookSeconds,
    machine: input.machine,
    options: { quick, durationMs, rounds, baseline },
    topologies: plan.topologies.map(({ name, about, family, encrypted }) => {
      const { frames = 0, framesThatShowThePayload = 0, hops = [] } = proofs.get(name) ?? {}
      return { name, about, family, encrypted, proof: { frames, framesThatShowThePayload, hops } }
    }),
    workloads: plan.workloads.map(({ name, about, figure }) => ({ name, about, figure })),
    cells: cells.map((cell) => {
      const { workload, topology, runs, failures } = cell
      const named = { workload: workload.name, topology: topology.name, runs, failures }
      const value = spreadOf(runs.map((run) => run.value))
      if (value === undefined) return named
      return { ...named, summary: summaryOf(cell, value, bestOfFamilies(workload, cells)) }
    }),
  }
}

/** The median of the better variant of each family. */
function bestOfFamilies(
  workload: Workload,
  cells: readonly RawCell[],
): ReadonlyMap<string, number> {
  const best = new Map<string, number>()
  for (const cell of cells) {
    if (cell.workload !== workload) continue
    const own = spreadOf(cell.runs.map((run) => run.value))?.median
    const known = best.get(cell.topology.family)
    if (own === undefined) continue
    if (known === undefined || isBetter(workload.figure.better, own, known)) {
      best.set(cell.topology.family, own)
    }
  }
  return best
}

function summaryOf({ runs }: RawCell, value: Spread, best: ReadonlyMap<string, number>): Summary {
  const ratios: Record<string, number> = {}
  for (const [family, base] of best) {
    const ratio = ratioOf(value.median, base)
    if (ratio !== undefined) ratios[family] = ratio
  }
  const latency = (of: 'p50' | 'p90' | 'p99' | 'p999'): Spread | undefined =>
    spreadOf(runs.map((run) => run.latencyMs?.[of]))
  const cpu = (run: Run): number => run.proxies.reduce((sum, proxy) => sum + proxy.cpuSeconds, 0)
  return {
    value,
    ratios,
    p50Ms: latency('p50'),
    p90Ms: latency('p90'),
    p99Ms: latency('p99'),
    p999Ms: latency('p999'),
    cpuSecondsPer1000Requests: spreadOf(runs.map((run) => per(cpu(run), run.requests, 1_000))),
    cpuSecondsPerGb: spreadOf(runs.map((run) => per(cpu(run), bulkBytes(run), 1e9))),
    proxies: (runs[0]?.proxies ?? []).flatMap(({ name }) => proxySummary(name, runs)),
  }
}

function proxySummary(name: string, runs: readonly Run[]): readonly ProxySummary[] {
  const own = runs.flatMap((run) =>
    run.proxies.filter((proxy) => proxy.name === name).map((proxy) => ({ run, proxy })),
  )
  const contextSwitchesPerSecond = spreadOf(
    own.map(({ run, proxy }) => proxy.contextSwitches / run.seconds),
  )
  const rssBytes = spreadOf(own.map(({ proxy }) => proxy.rssBytes))
  const pssBytes = spreadOf(own.map(({ proxy }) => proxy.pssBytes))
  if (contextSwitchesPerSecond === undefined || rssBytes === undefined || pssBytes === undefined) {
    return []
  }
  const cpu = (unit: number, countOf: (run: Run) => number | undefined): Spread | undefined =>
    spreadOf(own.map(({ run, proxy }) => per(proxy.cpuSeconds, countOf(run), unit)))
  return [
    {
      name,
      cpuSecondsPer1000Requests: cpu(1_000, (run) => run.requests),
      cpuSecondsPerGb: cpu(1e9, bulkBytes),
      contextSwitchesPerSecond,
      rssBytes,
      pssBytes,
    },
  ]
}

/** `amount` for each `unit` of `count`. */
const per = (amount: number, count: number | undefined, unit: number): number | undefined =>
  ratioOf(amount, count === undefined ? undefined : count / unit)

/** Where requests are small, they cost, and not their bytes. */
const BULK_REQUEST_BYTES = 4_096

const bulkBytes = ({ bytes, requests = 1 }: Run): number | undefined =>
  bytes !== undefined && bytes / requests >= BULK_REQUEST_BYTES ? bytes : undefined
