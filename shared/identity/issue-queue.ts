/**
 * Runs one job per key, at most `atOnce` together: those somebody waits for first, else in order of arrival. A key
 * is queued once, so the queue is no longer than the number of keys.
 */
export class IssueQueue {
  readonly #atOnce: number
  readonly #run: (key: string) => Promise<void>
  readonly #urgent = new Set<string>()
  readonly #background = new Set<string>()
  #running = 0

  /** `run` must not reject. */
  constructor(atOnce: number, run: (key: string) => Promise<void>) {
    this.#atOnce = atOnce
    this.#run = run
  }

  add(key: string, urgent: boolean): void {
    if (urgent) {
      this.#background.delete(key)
      this.#urgent.add(key)
    } else if (!this.#urgent.has(key)) {
      this.#background.add(key)
    }
    this.#next()
  }

  remove(key: string): void {
    this.#urgent.delete(key)
    this.#background.delete(key)
  }

  #next(): void {
    while (this.#running < this.#atOnce) {
      const from = this.#urgent.size > 0 ? this.#urgent : this.#background
      const [key] = from
      if (key === undefined) return
      from.delete(key)
      this.#running++
      void this.#run(key).finally(() => {
        this.#running--
        this.#next()
      })
    }
  }
}
