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

/** Pairs of a bucket and how many values it holds, in ascending order, none of them empty. */
export type BucketCounts = readonly (readonly [bucket: number, count: number])[]

/** `undefined` for no values. Counts of several recorders are added by passing `addCounts` of them. */
export function quantilesOf(counts: BucketCounts): Quantiles | undefined {
  const count = counts.reduce((sum, [, one]) => sum + one, 0)
  if (count === 0) return undefined
  return { p50: quantile(counts, 0.5 * count), p99: quantile(counts, 0.99 * count), count }
}

export function addCounts(a: BucketCounts, b: BucketCounts): BucketCounts {
  const sums = new Map(a)
  for (const [bucket, count] of b) sums.set(bucket, (sums.get(bucket) ?? 0) + count)
  return [...sums].sort(([first], [second]) => first - second)
}

function quantile(counts: BucketCounts, rank: number): number {
  let seen = 0
  let found = 0
  for (const [bucket, count] of counts) {
    found = bucket
    seen += count
    if (seen >= Math.ceil(rank)) break
  }
  return Number((SMALLEST_MS * 2 ** ((found + 0.5) / PER_OCTAVE)).toPrecision(3))
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
    return quantilesOf(this.counts())
  }

  /** What the quantiles are made from, for adding it to that of others. */
  counts(): BucketCounts {
    this.#turn()
    const counts: [number, number][] = []
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const count = (this.#current[bucket] ?? 0) + (this.#previous[bucket] ?? 0)
      if (count > 0) counts.push([bucket, count])
    }
    return counts
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
