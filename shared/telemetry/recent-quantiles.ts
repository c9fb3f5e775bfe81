import type { Clock } from '../runtime/clock.ts'

/** Eight buckets an octave: a value is known to within 4.5 %. */
const PER_OCTAVE = 8
/** Everything below counts as this, in milliseconds. */
const SMALLEST_MS = 0.01
/** 24 octaves: up to about 168 s; everything above counts as that. */
const BUCKETS = 24 * PER_OCTAVE

export interface Quantiles {
  readonly p50: number
  readonly p99: number
  /** How many values the quantiles stand on. */
  readonly count: number
}

/**
 * Quantiles of the last 30 to 60 seconds (two windows in turn) in a fixed 1.5 KiB, with logarithmic buckets as an HDR
 * histogram has them. Recording allocates nothing.
 */
export class RecentQuantiles {
  readonly #clock: Clock
  readonly #windowMs: number
  #current = new Uint32Array(BUCKETS)
  #previous = new Uint32Array(BUCKETS)
  #startedMs: number

  constructor(clock: Clock, windowMs = 30_000) {
    this.#clock = clock
    this.#windowMs = windowMs
    this.#startedMs = clock.monotonicMs()
  }

  record(ms: number): void {
    this.#turn()
    const bucket = bucketOf(ms)
    this.#current[bucket] = (this.#current[bucket] ?? 0) + 1
  }

  /** `undefined` when nothing was recorded lately. */
  read(): Quantiles | undefined {
    this.#turn()
    let count = 0
    for (let at = 0; at < BUCKETS; at++) count += this.#at(at)
    if (count === 0) return undefined
    return { p50: this.#quantile(0.5, count), p99: this.#quantile(0.99, count), count }
  }

  #at(bucket: number): number {
    return (this.#current[bucket] ?? 0) + (this.#previous[bucket] ?? 0)
  }

  #quantile(share: number, count: number): number {
    const rank = Math.ceil(share * count)
    let seen = 0
    let bucket = 0
    for (; bucket < BUCKETS - 1; bucket++) {
      seen += this.#at(bucket)
      if (seen >= rank) break
    }
    return Number((SMALLEST_MS * 2 ** ((bucket + 0.5) / PER_OCTAVE)).toPrecision(3))
  }

  #turn(): void {
    const now = this.#clock.monotonicMs()
    const passed = now - this.#startedMs
    if (passed < this.#windowMs) return
    const oldest = this.#previous
    this.#previous = this.#current
    this.#current = oldest.fill(0)
    if (passed >= 2 * this.#windowMs) this.#previous.fill(0)
    this.#startedMs = now
  }
}

function bucketOf(ms: number): number {
  if (!(ms > SMALLEST_MS)) return 0
  return Math.min(Math.floor(Math.log2(ms / SMALLEST_MS) * PER_OCTAVE), BUCKETS - 1)
}
