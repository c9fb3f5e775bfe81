import type { Log } from '../runtime/log.ts'
import type { ConnectionRecord, ConnectionTelemetry, Outcome, Party } from './connection-record.ts'
import { principalOf } from './traffic-labels.ts'

export interface Transfer {
  /** Bytes that came from the client. */
  readonly received: number
  /** Bytes that went to the client. */
  readonly sent: number
  readonly durationMs: number
}

/** One line a connection, with the keys of Istio's ztunnel in its order (ztunnel spec 10.4); absent values are left out. */
export class AccessLog {
  readonly #log: Log

  constructor(log: Log) {
    this.#log = log.child('access')
  }

  opened(record: ConnectionRecord): void {
    if (this.#log.level !== 'debug') return
    this.#log.debug('connection opened', { ...parties(record), ...ours(record) })
  }

  closed(record: ConnectionRecord, transfer: Transfer, outcome: Outcome): void {
    const { error } = outcome
    const level = error === undefined ? 'info' : 'error'
    this.#log[level]('connection complete', {
      ...parties(record),
      ...volume(record, transfer),
      duration: `${Math.round(transfer.durationMs)}ms`,
      ...present({ error }),
      ...ours(record),
    })
  }

  /** An early refusal, when the parties are not known yet. */
  refused(event: Parameters<ConnectionTelemetry['refused']>[0]): void {
    const [namespace, name] = event.workload?.split('/') ?? []
    const own = (side: 'src' | 'dst'): Fields =>
      (side === 'src') === (event.direction === 'outbound')
        ? present({ [`${side}.workload`]: name, [`${side}.namespace`]: namespace })
        : {}
    this.#log.warn('connection failed', {
      'src.addr': event.sourceAddress,
      ...own('src'),
      'dst.addr': event.destinationAddress,
      ...own('dst'),
      direction: event.direction,
      error: event.error,
    })
  }
}

type Fields = Record<string, string | number>

function parties(record: ConnectionRecord): Fields {
  const { source, destination, service } = record
  return present({
    'src.addr': record.sourceAddress,
    'src.workload': nameOf(source),
    'src.namespace': source.workload?.namespace,
    'src.identity': principalOf(record, source),
    'src.cluster': source.workload?.clusterId,
    'dst.addr': record.destinationAddress,
    'dst.hbone_addr': record.hboneAddress,
    'dst.service': service?.hostname,
    'dst.workload': nameOf(destination),
    'dst.namespace': destination.workload?.namespace,
    'dst.identity': principalOf(record, destination),
    'dst.cluster': destination.workload?.clusterId,
    direction: record.direction,
  })
}

/** Seen from the workload that reports: an outbound client's bytes are the ones it sent. */
function volume(record: ConnectionRecord, { received, sent }: Transfer): Fields {
  return record.direction === 'outbound'
    ? { bytes_sent: received, bytes_recv: sent }
    : { bytes_sent: sent, bytes_recv: received }
}

/** Keys that Istio does not have come last. */
const ours = (record: ConnectionRecord): Fields => present({ trace_id: record.traceId })

const nameOf = ({ workload }: Party): string | undefined =>
  workload && (workload.name || workload.canonicalName)

function present(fields: Readonly<Record<string, string | undefined>>): Fields {
  const kept: Fields = {}
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== '') kept[key] = value
  }
  return kept
}
