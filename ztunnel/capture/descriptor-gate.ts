/** What one captured connection takes: the accepted socket and the one towards the other side. */
const PER_CONNECTION = 2

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

  /** Called for each accepted connection; the result gives its share back, once. */
  take(): () => void {
    this.#held += PER_CONNECTION
    if (!this.#paused && this.#held >= this.#options.budget) {
      this.#paused = true
      this.#options.onPause()
    }
    let taken = true
    return () => {
      if (!taken) return
      taken = false
      this.#held -= PER_CONNECTION
      if (this.#paused && this.#held <= this.#options.budget * 0.9) {
        this.#paused = false
        this.#options.onResume()
      }
    }
  }
}
