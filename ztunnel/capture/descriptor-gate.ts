export interface DescriptorGateOptions {
  /** How many descriptors captured connections may hold together. */
  readonly budget: number
  /** The limit was reached and accepting stops; called once a pause. */
  readonly onPause: () => void
  readonly onResume: () => void
}

/**
 * Keeps descriptors free for the control plane connection, the admin port and certificates: when captured connections
 * hold the whole budget, all listeners pause (the kernel queues new connections) until a tenth is free again.
 */
export class DescriptorGate {
  readonly #options: DescriptorGateOptions
  readonly #waiting = new Set<() => void>()
  #held = 0
  #paused = false

  constructor(options: DescriptorGateOptions) {
    this.#options = options
  }

  get paused(): boolean {
    return this.#paused
  }

  /** Descriptors held by open connections. */
  get held(): number {
    return this.#held
  }

  /** Called for each connection with what it will hold; the result gives that back, once. */
  take(descriptors: number): () => void {
    this.#held += descriptors
    if (!this.#paused && this.#held >= this.#options.budget) {
      this.#paused = true
      this.#options.onPause()
    }
    let taken = true
    return () => {
      if (!taken) return
      taken = false
      this.#held -= descriptors
      if (this.#paused && this.#held <= this.#options.budget * 0.9) this.#resume()
    }
  }

  /**
   * For what comes inside connections that are open already, and so cannot be kept in the kernel's queue: resolves
   * when there is room. Rejects when `signal` aborts, with its reason.
   */
  async room(signal: AbortSignal): Promise<void> {
    while (this.#paused) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake)
          signal.removeEventListener('abort', wake)
          resolve()
        }
        this.#waiting.add(wake)
        signal.addEventListener('abort', wake)
      })
    }
  }

  #resume(): void {
    this.#paused = false
    this.#options.onResume()
    for (const wake of this.#waiting) wake()
  }
}
