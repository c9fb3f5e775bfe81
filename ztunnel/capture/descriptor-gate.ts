import type { DescriptorBudget } from './descriptor-budget.ts'

export interface DescriptorGateOptions {
  readonly budget: DescriptorBudget
  /** Where this thread counts. */
  readonly slot: number
  /** This thread is the one that reached the limit; called once a pause. */
  readonly onLimit: () => void
  /** Accepting has to stop, in this thread as in all others. */
  readonly onPause: () => void
  readonly onResume: () => void
}

/**
 * Keeps descriptors free for the control plane connection, the admin port and certificates: when captured connections
 * hold most of the budget, all listeners pause (the kernel queues new connections) until a tenth is free again.
 */
export class DescriptorGate {
  readonly #options: DescriptorGateOptions
  readonly #waiting = new Set<() => void>()
  #paused: boolean

  constructor(options: DescriptorGateOptions) {
    this.#options = options
    this.#paused = options.budget.is('paused')
    options.budget.onChange(() => this.#follow())
  }

  get paused(): boolean {
    return this.#paused
  }

  /** Called for each connection with what it will hold; the result gives that back, once. */
  take(descriptors: number): () => void {
    const { budget, slot, onLimit } = this.#options
    if (budget.add(slot, descriptors)) onLimit()
    let taken = true
    return () => {
      if (!taken) return
      taken = false
      budget.add(slot, -descriptors)
    }
  }

  /**
   * For what comes inside connections that are open already, and so cannot be kept in the kernel's queue: resolves
   * when there is room. Rejects when `signal` aborts, with its reason.
   */
  async room(signal: AbortSignal): Promise<void> {
    while (this.#options.budget.is('crowded')) {
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

  #follow(): void {
    const { budget, onPause, onResume } = this.#options
    if (!budget.is('crowded')) for (const wake of this.#waiting) wake()
    if (budget.is('paused') === this.#paused) return
    this.#paused = !this.#paused
    if (this.#paused) onPause()
    else onResume()
  }
}
