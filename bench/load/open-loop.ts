import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

const NANOSECONDS_A_MS = 1e6
/** Longer latencies count as this. */
const LONGEST_MS = 120_000

export interface Percentiles {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/**
 * The books of an open loop: requests are due at fixed moments, whatever became of those before. Latency counts from
 * the moment a request was due, not from when it could be sent, so a stall counts for each that it delayed
 * (coordinated omission). Times are milliseconds of one clock.
 */
export class OpenLoop {
  /** How many requests there will be. */
  readonly total: number
  readonly #startMs: number
  readonly #intervalMs: number
  // Of perf_hooks: an HDR histogram with three significant digits.
  readonly #latency: RecordableHistogram = histogram()
  readonly #lateness: RecordableHistogram = histogram()
  #due = 0
  #sent = 0
  #answered = 0
  #failed = 0

  constructor(options: { startMs: number; perSecond: number; seconds: number }) {
    this.#startMs = options.startMs
    this.#intervalMs = 1_000 / options.perSecond
    this.total = Math.round(options.perSecond * options.seconds)
  }

  /** Time has come to `nowMs`: what was due until then waits to be sent. */
  advance(nowMs: number): void {
    while (this.#due < this.total && this.#dueAt(this.#due) <= nowMs) {
      record(this.#lateness, nowMs - this.#dueAt(this.#due))
      this.#due++
    }
  }

  /** Takes the longest waiting request to send it; gives when it was due. Undefined if none waits. */
  take(): number | undefined {
    return this.#sent < this.#due ? this.#dueAt(this.#sent++) : undefined
  }

  answered(dueMs: number, nowMs: number): void {
    this.#answered++
    record(this.#latency, nowMs - dueMs)
  }

  failed(): void {
    this.#failed++
  }

  get finished(): boolean {
    return this.#answered + this.#failed >= this.total
  }

  /**
   * Of everything so far. Requests without an answer count with their age, a lower bound: leaving them out would
   * make the slowest invisible. `inFlight` tells when those that were sent were due.
   */
  report(nowMs: number, inFlight: readonly number[]) {
    for (const dueMs of inFlight) record(this.#latency, nowMs - dueMs)
    for (let due = this.take(); due !== undefined; due = this.take()) {
      record(this.#latency, nowMs - due)
    }
    return {
      answered: this.#answered,
      failed: this.#failed,
      unanswered: this.total - this.#answered - this.#failed,
      latencyMs: percentilesOf(this.#latency),
      /** How late the generator itself noticed that a request was due. */
      latenessMs: percentilesOf(this.#lateness),
    }
  }

  #dueAt(index: number): number {
    return this.#startMs + index * this.#intervalMs
  }
}

const histogram = (): RecordableHistogram =>
  createHistogram({ lowest: 1, highest: LONGEST_MS * NANOSECONDS_A_MS, figures: 3 })

function record(into: RecordableHistogram, ms: number): void {
  into.record(Math.max(1, Math.round(Math.min(ms, LONGEST_MS) * NANOSECONDS_A_MS)))
}

function percentilesOf(from: RecordableHistogram): Percentiles {
  const at = (percent: number): number => from.percentile(percent) / NANOSECONDS_A_MS
  return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: from.max / NANOSECONDS_A_MS }
}
