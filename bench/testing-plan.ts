import type { Plan } from './plan.ts'
import type { RawCell, Run } from './results.ts'
import type { Topology } from './topology/topology.ts'
import type { Workload } from './workload/workload.ts'

/** Topologies, workloads and runs for tests; none of them can be started. */

export const testingTopology = (name: string, changes: Partial<Topology> = {}): Topology => ({
  name,
  about: `about ${name}`,
  family: name,
  encrypted: true,
  inQuick: true,
  scope: 'all-workloads',
  descriptorsPerConnection: 2,
  bothEndsInOneProcess: false,
  start: () => Promise.reject(new Error('not to be started')),
  ...changes,
})

export const testingWorkload = (name: string, changes: Partial<Workload> = {}): Workload => ({
  name,
  about: `about ${name}`,
  apps: ['http'],
  figure: { name: 'requests', unit: 'req/s', better: 'higher' },
  inQuick: true,
  opensConnections: false,
  needsProxies: false,
  rounds: 'all',
  run: () => Promise.reject(new Error('not to be run')),
  ...changes,
})

export const testingRun = (value: number, changes: Partial<Run> = {}): Run => ({
  value,
  seconds: 2,
  requests: value * 2,
  errors: 0,
  proxies: [],
  hops: [],
  ...changes,
})

export const testingCell = (
  workload: Workload,
  topology: Topology,
  runs: readonly Run[],
): RawCell => ({ workload, topology, runs, failures: [] })

export const testingPlan = (
  topologies: readonly Topology[],
  workloads: readonly Workload[],
): Plan => ({
  quick: false,
  durationMs: 2_000,
  rounds: 3,
  baseline: topologies[0]?.family ?? '',
  topologies,
  workloads,
})
