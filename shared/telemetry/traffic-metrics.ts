import type { Clock } from '../runtime/clock.ts'
import type { ConnectionRecord, ResponseFlag } from './connection-record.ts'
import type { Labels, Metrics, Sample } from './metrics.ts'
import { type Entry, SeriesTable } from './series-table.ts'
import {
  overflowLabelsOf,
  type Reporter,
  reporterOf,
  TRAFFIC_LABELS,
  type TrafficLabel,
  trafficLabelsOf,
} from './traffic-labels.ts'

/** The numbers of one label set, moved directly by the connections that hold it. */
export interface TrafficSeries extends Entry {
  readonly key: string
  readonly labels: Partial<Labels<TrafficLabel>>
  opened: number
  closed: number
  received: number
  sent: number
  readonly failed: Map<ResponseFlag, number>
}

export interface TrafficMetricsOptions {
  readonly metrics: Metrics
  readonly clock: Clock
  /** How many label sets at most; then the rules of `SeriesTable` hold. */
  readonly limit: number
  /** Label sets without a connection for this long are forgotten. */
  readonly idleMs: number
}

/** Istio's `istio_tcp_*` families (ztunnel spec 10.2), with the byte counters live while a connection lasts. */
export class TrafficMetrics {
  readonly #table: SeriesTable<TrafficSeries>
  readonly #overflow: Readonly<Record<Reporter, TrafficSeries>> = {
    source: seriesOf('', overflowLabelsOf('source')),
    destination: seriesOf('', overflowLabelsOf('destination')),
  }

  constructor(options: TrafficMetricsOptions) {
    this.#table = new SeriesTable(options)
    const { metrics } = options
    const family = (
      name: string,
      help: string,
      samples: (series: TrafficSeries) => Iterable<Sample<TrafficLabel>>,
    ): void =>
      metrics.tableCounter({ name, help, labels: TRAFFIC_LABELS }, () => this.#collect(samples))
    family(
      'istio_tcp_connections_opened_total',
      'The total number of TCP connections opened',
      ({ labels, opened }) => [{ labels, value: opened }],
    )
    family(
      'istio_tcp_connections_closed_total',
      'The total number of TCP connections closed',
      ({ labels, closed }) => [{ labels, value: closed }],
    )
    family(
      'istio_tcp_received_bytes_total',
      'The size of total bytes received during request in case of a TCP connection',
      ({ labels, received }) => [{ labels, value: received }],
    )
    family(
      'istio_tcp_sent_bytes_total',
      'The size of total bytes sent during response in case of a TCP connection',
      ({ labels, sent }) => [{ labels, value: sent }],
    )
    family(
      'istio_tcp_connections_failed_total',
      'The total number of TCP connections that failed (unstable)',
      failures,
    )
    metrics.gaugeOf(
      {
        name: 'ambit_traffic_label_sets',
        help: 'Label sets of TCP connections that are kept (unstable)',
      },
      () => this.#table.size,
    )
  }

  /** The series of a connection, held until `release`. */
  hold(record: ConnectionRecord): TrafficSeries {
    const labels = trafficLabelsOf(record)
    const key = Object.values(labels).join('\n')
    return (
      this.#table.hold(key, () => seriesOf(key, labels)) ??
      this.#overflow[reporterOf(record.direction)]
    )
  }

  release(series: TrafficSeries): void {
    this.#table.release(series.key)
  }

  *#collect(
    samples: (series: TrafficSeries) => Iterable<Sample<TrafficLabel>>,
  ): Iterable<Sample<TrafficLabel>> {
    this.#table.sweep()
    for (const series of this.#table.entries()) yield* samples(series)
    for (const series of [this.#overflow.source, this.#overflow.destination]) {
      if (series.opened > 0) yield* samples(series)
    }
  }
}

function seriesOf(key: string, labels: Partial<Labels<TrafficLabel>>): TrafficSeries {
  return {
    key,
    labels,
    opened: 0,
    closed: 0,
    received: 0,
    sent: 0,
    failed: new Map(),
    open: 0,
    usedMs: 0,
  }
}

function* failures({ labels, failed }: TrafficSeries): Iterable<Sample<TrafficLabel>> {
  for (const [flag, value] of failed) yield { labels: { ...labels, response_flags: flag }, value }
}
