export interface BackoffOptions {
  /** The first wait, in milliseconds. */
  readonly firstMs: number
  /** No wait is longer. */
  readonly maxMs: number
  /** Each wait is spread by up to this share of itself, both ways; default 0.2. */
  readonly jitter?: number
  /** Between 0 and 1; `Math.random` unless a test says otherwise. */
  readonly random?: () => number
}

/** Waits that double from `firstMs` to `maxMs`, spread by a jitter so that peers do not retry in step. */
export class Backoff {
  readonly #options: BackoffOptions
  #failures = 0

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  /** How long to wait before the next try, in milliseconds. */
  nextMs(): number {
    const { firstMs, maxMs, jitter = 0.2, random = Math.random } = this.#options
    const plain = Math.min(firstMs * 2 ** Math.min(this.#failures, 30), maxMs)
    this.#failures++
    return Math.min(plain * (1 + jitter * (2 * random() - 1)), maxMs)
  }

  /** Call after a success that lasted. */
  reset(): void {
    this.#failures = 0
  }
}
