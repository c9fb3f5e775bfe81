import type { Clock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { AccessLog } from './access-log.ts'
import { ConnectionHistograms, type Timings } from './connection-histograms.ts'
import type {
  ConnectionMeter,
  ConnectionRecord,
  ConnectionTelemetry,
  Outcome,
} from './connection-record.ts'
import { type Link, LinkTable } from './link-table.ts'
import type { CountingMetric, LevelMetric, Metrics } from './metrics.ts'
import { type Reporter, reporterOf } from './traffic-labels.ts'
import { TrafficMetrics, type TrafficSeries } from './traffic-metrics.ts'

export interface TelemetryOptions {
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** How many label sets of the traffic metrics are kept; default 5,000. */
  readonly maxLabelSets?: number
  /** Label sets without a connection for this long are forgotten; default 15 minutes. */
  readonly idleMs?: number
}

export interface Telemetry extends ConnectionTelemetry {
  readonly links: LinkTable
}

/**
 * Metrics, access log and live table from one record, so that they cannot disagree. At the bound of label sets the one
 * unused for the longest makes room; when all are in use, connections count on the workload name `overflow`.
 */
export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { metrics, log, clock, maxLabelSets: limit = 5_000, idleMs = 900_000 } = options
  const sinks: Sinks = {
    clock,
    traffic: new TrafficMetrics({ metrics, clock, limit, idleMs }),
    histograms: new ConnectionHistograms({ metrics, clock, limit: 1_000, idleMs }),
    links: new LinkTable({ clock }),
    access: new AccessLog(log),
    sockets: metrics.gauge({
      name: 'istio_tcp_sockets_open',
      help: 'The current number of open TCP sockets (unstable)',
      labels: ['reporter'],
    }),
    denials: metrics.counter({
      name: 'ambit_denials_total',
      help: 'Connections that a policy denied, by reason (unstable)',
      labels: ['reporter', 'reason'],
    }),
  }
  const refusals = metrics.counter({
    name: 'ambit_connections_refused_total',
    help: 'Connections that were turned away before their parties were known (unstable)',
    labels: ['reporter', 'response_flags'],
  })
  return {
    links: sinks.links,
    open: (record) => new Meter(record, sinks),
    refused(event) {
      refusals.inc({ reporter: reporterOf(event.direction), response_flags: event.flag })
      sinks.access.refused(event)
    },
  }
}

interface Sinks {
  readonly clock: Clock
  readonly traffic: TrafficMetrics
  readonly histograms: ConnectionHistograms
  readonly links: LinkTable
  readonly access: AccessLog
  readonly sockets: LevelMetric<'reporter'>
  readonly denials: CountingMetric<'reporter' | 'reason'>
}

/** The reasons of the policy engine; a label has a closed set of values. */
const DENIAL_REASONS = ['explicitly-denied', 'not-allowed', 'policy-missing']

const denialReason = ({ reason }: Outcome): string =>
  DENIAL_REASONS.find((known) => known === reason) ?? 'other'

class Meter implements ConnectionMeter {
  readonly #record: ConnectionRecord
  readonly #sinks: Sinks
  readonly #reporter: Reporter
  readonly #series: TrafficSeries
  readonly #timings: Timings | undefined
  readonly #link: Link | undefined
  readonly #startedMs: number
  #received = 0
  #sent = 0
  #isEstablished = false
  #hasFirstByte = false
  #isClosed = false

  constructor(record: ConnectionRecord, sinks: Sinks) {
    this.#record = record
    this.#sinks = sinks
    this.#reporter = reporterOf(record.direction)
    this.#startedMs = sinks.clock.monotonicMs()
    this.#series = sinks.traffic.hold(record)
    this.#timings = sinks.histograms.hold(record)
    this.#link = sinks.links.hold(record)
    this.#series.opened++
    this.#link?.opened()
    sinks.sockets.inc({ reporter: this.#reporter })
    sinks.access.opened(record)
  }

  received(bytes: number): void {
    this.#received += bytes
    this.#series.received += bytes
    if (this.#link !== undefined) this.#link.received += bytes
  }

  sent(bytes: number): void {
    this.#sent += bytes
    this.#series.sent += bytes
    if (this.#link !== undefined) this.#link.sent += bytes
  }

  established(ms: number): void {
    if (this.#isEstablished || this.#isClosed) return
    this.#isEstablished = true
    this.#timings?.setup(ms)
    this.#link?.setup.record(ms)
  }

  firstByte(ms: number): void {
    if (this.#hasFirstByte || this.#isClosed) return
    this.#hasFirstByte = true
    this.#timings?.firstByte(ms)
    this.#link?.firstByte.record(ms)
  }

  close(outcome: Outcome): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const sinks = this.#sinks
    const series = this.#series
    series.closed++
    if (outcome.flag !== '-') {
      series.failed.set(outcome.flag, (series.failed.get(outcome.flag) ?? 0) + 1)
    }
    if (outcome.flag === 'DENY') {
      sinks.denials.inc({ reporter: this.#reporter, reason: denialReason(outcome) })
    }
    sinks.sockets.dec({ reporter: this.#reporter })
    sinks.traffic.release(series)
    if (this.#timings !== undefined) sinks.histograms.release(this.#timings)
    if (this.#link !== undefined) {
      this.#link.ended(outcome)
      sinks.links.release(this.#link)
    }
    sinks.access.closed(
      this.#record,
      {
        received: this.#received,
        sent: this.#sent,
        durationMs: sinks.clock.monotonicMs() - this.#startedMs,
      },
      outcome,
    )
  }
}
