import { parseDuration } from '../shared/runtime/duration.ts'
import { AmbitError } from '../shared/runtime/errors.ts'
import type { Topology } from './topology/topology.ts'
import type { Workload } from './workload/workload.ts'

/** As the command line gives them. */
export interface BenchFlags {
  readonly quick?: boolean
  /** Names of topologies and workloads, or the words that they begin with, separated by commas. */
  readonly only?: string
  readonly duration?: string
  /** Counts for the keep-alive HTTP load, separated by commas. */
  readonly connections?: string
  readonly rounds?: string
  readonly baseline?: string
}

export interface Plan {
  readonly quick: boolean
  readonly durationMs: number
  readonly rounds: number
  /** The family whose best variant everything is compared with. */
  readonly baseline: string
  readonly topologies: readonly Topology[]
  readonly workloads: readonly Workload[]
}

const QUICK = { durationMs: 1_000, rounds: 2 }
const FULL = { durationMs: 3_000, rounds: 5 }
const DEFAULT_BASELINE = 'haproxy-mtls'
const LONGEST_MS = 600_000
const MOST_ROUNDS = 100
const MOST_CONNECTIONS = 10_000

/** What is there to choose from. */
export interface Catalogue {
  readonly topologies: readonly Topology[]
  readonly workloadsWith: (connections?: readonly number[]) => readonly Workload[]
}

/** Throws `AMBIT_SETTINGS` naming the flag, for a bad value or a selection that leaves nothing to do. */
export function planOf(flags: BenchFlags, catalogue: Catalogue): Plan {
  const quick = flags.quick ?? false
  const defaults = quick ? QUICK : FULL
  const durationMs = flags.duration === undefined ? defaults.durationMs : durationOf(flags.duration)
  const rounds =
    flags.rounds === undefined ? defaults.rounds : countOf('rounds', flags.rounds, MOST_ROUNDS)
  const connections = flags.connections
    ?.split(',')
    .map((text) => countOf('connections', text, MOST_CONNECTIONS))
  const all = { topologies: catalogue.topologies, workloads: catalogue.workloadsWith(connections) }
  const chosen = select(flags.only, all)
  const inQuick = (one: Topology | Workload): boolean => !quick || one.inQuick
  // What was named is wanted, in a quick run too; and so are HTTP loads of connections that were named.
  const topologies = chosen.topologies ?? all.topologies.filter(inQuick)
  const isNamedCount = ({ name }: Workload): boolean =>
    connections?.some((count) => name === `http-${count}-0.1k`) ?? false
  const workloads =
    chosen.workloads ?? all.workloads.filter((one) => inQuick(one) || isNamedCount(one))
  return {
    quick,
    durationMs,
    rounds,
    baseline: baselineOf(flags, topologies),
    topologies,
    workloads,
  }
}

/** Whether there is something to learn from this load on this topology. */
export const isWorthwhile = (topology: Topology, workload: Workload): boolean =>
  topology.scope === 'all-workloads' || workload.opensConnections

type Chosen = Partial<Pick<Plan, 'topologies' | 'workloads'>>

/** By each part of `only`; a kind that no part names is not restricted. */
function select(only: string | undefined, all: Pick<Plan, 'topologies' | 'workloads'>): Chosen {
  if (only === undefined) return {}
  const topologies = new Set<Topology>()
  const workloads = new Set<Workload>()
  for (const part of only.split(',').map((text) => text.trim())) {
    const named = called(part, all.topologies)
    const loads = called(part, all.workloads)
    if (part === '' || named.length + loads.length === 0) {
      const names = [...all.topologies, ...all.workloads].map(({ name }) => name).join(', ')
      throw new AmbitError(
        'AMBIT_SETTINGS',
        `--only: nothing is called '${part}'; there are ${names}`,
      )
    }
    for (const one of named) topologies.add(one)
    for (const one of loads) workloads.add(one)
  }
  return {
    ...(topologies.size === 0
      ? {}
      : { topologies: all.topologies.filter((one) => topologies.has(one)) }),
    ...(workloads.size === 0
      ? {}
      : { workloads: all.workloads.filter((one) => workloads.has(one)) }),
  }
}

/** The one of exactly this name, or else all whose names begin with it; `http-1` does not mean `http-10`. */
function called<T extends { readonly name: string }>(
  part: string,
  all: readonly T[],
): readonly T[] {
  const exact = all.filter(({ name }) => name === part)
  return exact.length > 0 ? exact : all.filter(({ name }) => name.startsWith(`${part}-`))
}

function baselineOf({ baseline }: BenchFlags, topologies: readonly Topology[]): string {
  const families = new Set(topologies.map((one) => one.family))
  if (baseline !== undefined) {
    if (families.has(baseline)) return baseline
    throw new AmbitError('AMBIT_SETTINGS', `--baseline: there is ${[...families].join(', ')}`)
  }
  return families.has(DEFAULT_BASELINE) ? DEFAULT_BASELINE : (topologies[0]?.family ?? '')
}

function durationOf(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= 1_000 && ms <= LONGEST_MS) return ms
  throw new AmbitError('AMBIT_SETTINGS', `--duration: '${text}' is no duration from 1s to 10m`)
}

function countOf(flag: string, text: string, most: number): number {
  const count = /^\d{1,6}$/.test(text.trim()) ? Number(text) : 0
  if (count >= 1 && count <= most) return count
  throw new AmbitError('AMBIT_SETTINGS', `--${flag}: '${text}' is no number from 1 to ${most}`)
}
