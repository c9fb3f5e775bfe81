const SPAN_MS = 5_000

interface Reading {
  readonly at: number
  readonly total: number
}

/** How fast counters grow, over the last five seconds. A counter that fell has started anew. */
export class Rates {
  #readings = new Map<string, readonly Reading[]>()

  /** Takes all counters as they stand at `at` (milliseconds); the ones that are left out are forgotten. */
  update(at: number, totals: ReadonlyMap<string, number>): void {
    const next = new Map<string, readonly Reading[]>()
    for (const [key, total] of totals) {
      const known = this.#readings.get(key) ?? []
      const isNew = (known.at(-1)?.total ?? total) > total
      const kept = isNew ? [] : known.filter((reading) => at - reading.at <= SPAN_MS)
      next.set(key, [...kept, { at, total }])
    }
    this.#readings = next
  }

  /** Per second; undefined before there are two readings. */
  perSecond(key: string): number | undefined {
    const readings = this.#readings.get(key)
    const first = readings?.[0]
    const last = readings?.at(-1)
    if (first === undefined || last === undefined || last.at <= first.at) return undefined
    return ((last.total - first.total) * 1_000) / (last.at - first.at)
  }
}
