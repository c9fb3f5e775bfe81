import type { Clock } from '../runtime/clock.ts'
import type { ConnectionRecord, Outcome, Party } from './connection-record.ts'
import {
  addCounts,
  type BucketCounts,
  type Quantiles,
  quantilesOf,
  RecentQuantiles,
} from './recent-quantiles.ts'
import { type Entry, SeriesTable } from './series-table.ts'
import { principalOf } from './traffic-labels.ts'

/** One end of a link as people see it; without a workload there is only an address. */
export interface LinkEnd {
  readonly workload: string | undefined
  readonly namespace: string | undefined
  readonly version: string | undefined
  readonly identity: string | undefined
  /** IP address, set when the workload is not known. */
  readonly address: string | undefined
}

/** A caller and callee pair as this ztunnel saw it; the JSON of `/links`. */
export interface LinkRow {
  readonly direction: ConnectionRecord['direction']
  readonly source: LinkEnd
  readonly destination: LinkEnd
  readonly service: string | undefined
  readonly security: 'mutual_tls' | 'plaintext'
  readonly connections: {
    readonly open: number
    readonly total: number
    readonly denied: number
    readonly failed: number
  }
  readonly bytes: { readonly received: number; readonly sent: number }
  /** Milliseconds from accept to the upstream's answer, over the last 30 to 60 s. */
  readonly setupMs: Quantiles | undefined
  /** Milliseconds from accept to the first byte back, over the last 30 to 60 s. */
  readonly firstByteMs: Quantiles | undefined
  readonly lastDenial:
    | { readonly reason: string | undefined; readonly policy: string | undefined }
    | undefined
  /** Milliseconds since a connection was last opened or closed. */
  readonly idleMs: number
}

/** A row as one thread has it: what `mergeLinks` makes rows of. Can be sent to another thread. */
export interface LinkSnapshot {
  readonly key: string
  readonly row: Omit<LinkRow, 'setupMs' | 'firstByteMs'>
  readonly setup: BucketCounts
  readonly firstByte: BucketCounts
}

/** One row a pair, whichever threads its connections were on. */
export function mergeLinks(snapshots: Iterable<LinkSnapshot>): LinkRow[] {
  const merged = new Map<string, LinkSnapshot>()
  for (const snapshot of snapshots) {
    const known = merged.get(snapshot.key)
    merged.set(snapshot.key, known === undefined ? snapshot : added(known, snapshot))
  }
  return Array.from(merged.values(), ({ row, setup, firstByte }) => ({
    ...row,
    setupMs: quantilesOf(setup),
    firstByteMs: quantilesOf(firstByte),
  }))
}

function added(a: LinkSnapshot, b: LinkSnapshot): LinkSnapshot {
  const [recent, older] = a.row.idleMs <= b.row.idleMs ? [a.row, b.row] : [b.row, a.row]
  const sum = (of: (row: LinkSnapshot['row']) => number): number => of(a.row) + of(b.row)
  return {
    key: a.key,
    row: {
      ...recent,
      connections: {
        open: sum((row) => row.connections.open),
        total: sum((row) => row.connections.total),
        denied: sum((row) => row.connections.denied),
        failed: sum((row) => row.connections.failed),
      },
      bytes: {
        received: sum((row) => row.bytes.received),
        sent: sum((row) => row.bytes.sent),
      },
      lastDenial: recent.lastDenial ?? older.lastDenial,
    },
    setup: addCounts(a.setup, b.setup),
    firstByte: addCounts(a.firstByte, b.firstByte),
  }
}

/** A row in the making; a connection moves the numbers directly. */
export class Link implements Entry {
  readonly key: string
  open = 0
  usedMs: number
  total = 0
  denied = 0
  failed = 0
  received = 0
  sent = 0
  readonly setup: RecentQuantiles
  readonly firstByte: RecentQuantiles
  readonly #record: ConnectionRecord
  readonly #clock: Clock
  #lastDenial: LinkRow['lastDenial']

  constructor(key: string, record: ConnectionRecord, clock: Clock) {
    this.key = key
    this.#record = record
    this.#clock = clock
    this.setup = new RecentQuantiles(clock)
    this.firstByte = new RecentQuantiles(clock)
    this.usedMs = clock.monotonicMs()
  }

  opened(): void {
    this.total++
    this.usedMs = this.#clock.monotonicMs()
  }

  ended({ flag, reason, policy }: Outcome): void {
    if (flag === 'DENY') {
      this.denied++
      this.#lastDenial = { reason, policy }
    } else if (flag !== '-') {
      this.failed++
    }
  }

  snapshot(): LinkSnapshot {
    const record = this.#record
    return {
      key: this.key,
      row: {
        direction: record.direction,
        source: linkEnd(record, record.source, record.sourceAddress),
        destination: linkEnd(record, record.destination, record.destinationAddress),
        service: record.service?.hostname,
        security: record.mutualTls ? 'mutual_tls' : 'plaintext',
        connections: {
          open: this.open,
          total: this.total,
          denied: this.denied,
          failed: this.failed,
        },
        bytes: { received: this.received, sent: this.sent },
        lastDenial: this.#lastDenial,
        idleMs: Math.round(this.#clock.monotonicMs() - this.usedMs),
      },
      setup: this.setup.counts(),
      firstByte: this.firstByte.counts(),
    }
  }
}

export interface LinkTableOptions {
  readonly clock: Clock
  /** How many pairs at most; default 1,000. At the limit the pair unused for the longest goes. */
  readonly limit?: number
  /** A pair without a connection for this long is forgotten; default 10 minutes. */
  readonly idleMs?: number
}

/** Who talks to whom through this ztunnel, right now, for people; not for monitoring systems. */
export class LinkTable {
  readonly #table: SeriesTable<Link>
  readonly #clock: Clock

  constructor({ clock, limit = 1_000, idleMs = 600_000 }: LinkTableOptions) {
    this.#clock = clock
    this.#table = new SeriesTable({ clock, limit, idleMs })
  }

  /** The row of a connection, held until `release`; `undefined` when all rows are in use. */
  hold(record: ConnectionRecord): Link | undefined {
    const key = keyOf(record)
    return this.#table.hold(key, () => new Link(key, record, this.#clock))
  }

  release(link: Link): void {
    this.#table.release(link.key)
  }

  snapshot(): LinkSnapshot[] {
    this.#table.sweep()
    return Array.from(this.#table.entries(), (link) => link.snapshot())
  }

  rows(): LinkRow[] {
    return mergeLinks(this.snapshot())
  }
}

function keyOf(record: ConnectionRecord): string {
  const ends = [
    linkEnd(record, record.source, record.sourceAddress),
    linkEnd(record, record.destination, record.destinationAddress),
  ].flatMap((end) => [end.namespace, end.workload, end.version, end.identity, end.address])
  return [record.direction, record.mutualTls, record.service?.hostname, ...ends].join('\n')
}

function linkEnd(record: ConnectionRecord, party: Party, address: string): LinkEnd {
  const { workload } = party
  return {
    workload: workload && (workload.workloadName || workload.name),
    namespace: workload?.namespace,
    version: workload?.canonicalRevision,
    identity: principalOf(record, party),
    address: workload === undefined ? address.slice(0, address.lastIndexOf(':')) : undefined,
  }
}
