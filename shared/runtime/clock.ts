/** A pending call; cancelling it twice, or after it ran, does nothing. */
export interface Timer {
  cancel(): void
}

/**
 * Time as everything in ambit sees it, so that tests can hold it in their hands. Intervals are measured with
 * `monotonicMs`; `wallMs` is for certificate validity and log stamps only.
 */
export interface Clock {
  /** Milliseconds that never jump; the zero point means nothing. */
  monotonicMs(): number
  /** Milliseconds since the epoch. */
  wallMs(): number
  /** Calls `fn` once, after at least `ms`, however long that is. Does not keep the process alive. */
  after(ms: number, fn: () => void): Timer
}

/** The longest wait that `setTimeout` takes; it fires at once for anything longer. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(ms, fn) {
    let handle: NodeJS.Timeout
    const arm = (left: number): void => {
      const step = Math.min(Math.max(left, 0), LONGEST_TIMEOUT_MS)
      handle = setTimeout(() => (left > step ? arm(left - step) : fn()), step)
      handle.unref()
    }
    arm(ms)
    return { cancel: () => clearTimeout(handle) }
  },
}

/** A clock that stands still until `advance` moves it; due calls run in order of their time. */
export class FakeClock implements Clock {
  #now = 0
  readonly #startMs: number
  readonly #pending = new Set<{ at: number; fn: () => void }>()

  /** `startMs` is the wall time at the beginning. */
  constructor(startMs = 1_700_000_000_000) {
    this.#startMs = startMs
  }

  monotonicMs(): number {
    return this.#now
  }

  wallMs(): number {
    return this.#startMs + this.#now
  }

  after(ms: number, fn: () => void): Timer {
    const entry = { at: this.#now + Math.max(ms, 0), fn }
    this.#pending.add(entry)
    return { cancel: () => void this.#pending.delete(entry) }
  }

  /** How many calls are waiting. */
  get pending(): number {
    return this.#pending.size
  }

  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const due = [...this.#pending]
        .filter((entry) => entry.at <= until)
        .sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#pending.delete(due)
      this.#now = due.at
      due.fn()
    }
    this.#now = until
  }
}
