import type { Clock } from '../runtime/clock.ts'
import type { ConnectionRecord, Party } from './connection-record.ts'
import { type DistributionMetric, type Labels, labelValue, type Metrics } from './metrics.ts'
import { type Entry, SeriesTable } from './series-table.ts'
import { reporterOf } from './traffic-labels.ts'

const PAIR_LABELS = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'destination_workload',
  'destination_workload_namespace',
] as const

type PairLabel = (typeof PAIR_LABELS)[number]

/** Seconds; fine where a mesh works (below 10 ms), coarse where only timeouts are. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** The histograms of one pair of workloads. */
export interface Timings extends Entry {
  readonly key: string
  readonly labels: Labels<PairLabel>
  setup(ms: number): void
  firstByte(ms: number): void
}

export interface ConnectionHistogramsOptions {
  readonly metrics: Metrics
  readonly clock: Clock
  readonly limit: number
  readonly idleMs: number
}

/** How long callers wait, per pair of workloads. A pair beyond the limit is not measured while all others are in use. */
export class ConnectionHistograms {
  readonly #table: SeriesTable<Timings>
  readonly #setup: DistributionMetric<PairLabel>
  readonly #firstByte: DistributionMetric<PairLabel>

  constructor({ metrics, clock, limit, idleMs }: ConnectionHistogramsOptions) {
    this.#setup = metrics.histogram({
      name: 'ambit_connection_setup_seconds',
      help: 'From accepting a connection to the answer of the other side (unstable)',
      labels: PAIR_LABELS,
      buckets: BUCKETS,
    })
    this.#firstByte = metrics.histogram({
      name: 'ambit_connection_first_byte_seconds',
      help: 'From accepting a connection to its first byte back (unstable)',
      labels: PAIR_LABELS,
      buckets: BUCKETS,
    })
    const onDrop = ({ labels }: Timings): void => {
      this.#setup.forget(labels)
      this.#firstByte.forget(labels)
    }
    this.#table = new SeriesTable({ clock, limit, idleMs, onDrop })
    metrics.gaugeOf(
      { name: 'ambit_workload_pairs', help: 'Pairs of workloads that are measured (unstable)' },
      () => {
        this.#table.sweep()
        return this.#table.size
      },
    )
  }

  hold(record: ConnectionRecord): Timings | undefined {
    const labels = pairLabelsOf(record)
    const key = Object.values(labels).join('\n')
    return this.#table.hold(key, () => ({
      key,
      labels,
      open: 0,
      usedMs: 0,
      setup: (ms) => this.#setup.observe(labels, ms / 1_000),
      firstByte: (ms) => this.#firstByte.observe(labels, ms / 1_000),
    }))
  }

  release(timings: Timings): void {
    this.#table.release(timings.key)
  }
}

function pairLabelsOf(record: ConnectionRecord): Labels<PairLabel> {
  const nameOf = ({ workload }: Party): string => labelValue(workload?.workloadName)
  const namespaceOf = ({ workload }: Party): string => labelValue(workload?.namespace)
  return {
    reporter: reporterOf(record.direction),
    source_workload: nameOf(record.source),
    source_workload_namespace: namespaceOf(record.source),
    destination_workload: nameOf(record.destination),
    destination_workload_namespace: namespaceOf(record.destination),
  }
}
