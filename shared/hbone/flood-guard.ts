/** What a peer may do a burst of, and so many per second after that, before the connection is ended. */
interface Allowance {
  readonly burst: number
  readonly perSecond: number
}

/**
 * Things that cost us more than the peer. `reset` is every stream that ends before its time through the peer's doing:
 * its RST_STREAM, or an error that makes us send one (CVE-2023-44487, CVE-2025-8671), or a stream above the limit. A
 * peer is a whole node, and its applications may well reset connections as a habit. WINDOW_UPDATE is cheap and goes
 * with honest traffic.
 */
const ALLOWANCES = {
  reset: { burst: 10_000, perSecond: 1_000 },
  settings: { burst: 100, perSecond: 10 },
  ping: { burst: 1_000, perSecond: 200 },
  priority: { burst: 1_000, perSecond: 100 },
  emptyData: { burst: 1_000, perSecond: 100 },
  windowUpdate: { burst: 50_000, perSecond: 50_000 },
  unknownFrame: { burst: 1_000, perSecond: 100 },
  staleFrame: { burst: 10_000, perSecond: 1_000 },
} as const satisfies Record<string, Allowance>

export type FloodKind = keyof typeof ALLOWANCES

interface Bucket {
  used: number
  sinceMs: number
}

/** Counts what a peer does too often. */
export class FloodGuard {
  readonly #now: () => number
  readonly #buckets = new Map<FloodKind, Bucket>()
  readonly #counts = new Map<FloodKind, number>()

  /** `now` in milliseconds that never jump. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** How often each thing happened. */
  get counts(): ReadonlyMap<FloodKind, number> {
    return this.#counts
  }

  /** False if this is one too many. */
  allows(kind: FloodKind): boolean {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1)
    const { burst, perSecond } = ALLOWANCES[kind]
    let bucket = this.#buckets.get(kind)
    if (bucket === undefined) {
      bucket = { used: 0, sinceMs: this.#now() }
      this.#buckets.set(kind, bucket)
    }
    bucket.used++
    if (bucket.used <= burst) return true
    // The clock is asked only when the burst seems used up.
    const now = this.#now()
    const refund = ((now - bucket.sinceMs) * perSecond) / 1_000
    bucket.used = Math.max(1, bucket.used - refund)
    bucket.sinceMs = now
    return bucket.used <= burst
  }
}
