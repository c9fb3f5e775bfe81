import { MergedExposition } from '../../shared/telemetry/merged-exposition.ts'

/** Samples kept of workers that are gone, all together. */
const MAX_LOST = 100_000

/**
 * The metrics of all workers as one. What a worker counted does not get lost with it, or sums would go down, which a
 * monitoring system takes for a restart of everything; what it counted since the last scrape does.
 */
export class WorkerMetrics {
  /** The last text of each living worker, by number. */
  readonly #last = new Map<number, string>()
  #lost = new MergedExposition()

  /** What a worker says now; it counts until the next time. */
  update(number: number, text: string): void {
    this.#last.set(number, text)
  }

  /** The worker is gone; the next one of its number begins at zero. */
  lost(number: number): void {
    const text = this.#last.get(number)
    if (text === undefined) return
    this.#last.delete(number)
    if (this.#lost.size > MAX_LOST) this.#lost = new MergedExposition()
    this.#lost.add(text, { totalsOnly: true })
  }

  /** OpenMetrics text: that of the main thread and all of the workers. */
  exposition(main: string): string {
    const merged = new MergedExposition()
    merged.add(main)
    merged.add(this.#lost.text())
    for (const text of this.#last.values()) merged.add(text)
    return merged.text()
  }
}
