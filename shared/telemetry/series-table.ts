import type { Clock } from '../runtime/clock.ts'

/** What a table keeps for one key; `open` and `usedMs` belong to the table. */
export interface Entry {
  /** How many connections hold it; a held entry is never dropped. */
  open: number
  /** Monotonic time of the last release. */
  usedMs: number
}

export interface SeriesTableOptions<E extends Entry> {
  readonly clock: Clock
  readonly limit: number
  /** Entries that nobody held for this long are dropped by `sweep`. */
  readonly idleMs: number
  readonly onDrop?: (entry: E) => void
}

/**
 * A bounded table of label sets. At the limit the entry that was unused for the longest makes room; when every entry is
 * held, `hold` answers `undefined` and the caller counts on a shared overflow entry: nothing is lost but the labels.
 */
export class SeriesTable<E extends Entry> {
  readonly #options: SeriesTableOptions<E>
  readonly #held = new Map<string, E>()
  /** In the order of release, so that the first is the one unused for the longest. */
  readonly #idle = new Map<string, E>()

  constructor(options: SeriesTableOptions<E>) {
    this.#options = options
  }

  get size(): number {
    return this.#held.size + this.#idle.size
  }

  /** Finds or makes the entry and holds it until `release`. */
  hold(key: string, create: () => E): E | undefined {
    const entry = this.#held.get(key) ?? this.#revive(key) ?? this.#make(key, create)
    if (entry !== undefined) entry.open++
    return entry
  }

  release(key: string): void {
    const entry = this.#held.get(key)
    if (entry === undefined) return
    entry.open--
    if (entry.open > 0) return
    entry.usedMs = this.#options.clock.monotonicMs()
    this.#held.delete(key)
    this.#idle.set(key, entry)
  }

  /** Drops what has been idle for too long. */
  sweep(): void {
    const oldest = this.#options.clock.monotonicMs() - this.#options.idleMs
    for (const [key, entry] of this.#idle) {
      if (entry.usedMs > oldest) return
      this.#drop(key, entry)
    }
  }

  *entries(): Iterable<E> {
    yield* this.#held.values()
    yield* this.#idle.values()
  }

  #revive(key: string): E | undefined {
    const entry = this.#idle.get(key)
    if (entry === undefined) return undefined
    this.#idle.delete(key)
    this.#held.set(key, entry)
    return entry
  }

  #make(key: string, create: () => E): E | undefined {
    if (this.size >= this.#options.limit) {
      const longest = this.#idle.entries().next().value
      if (longest === undefined) return undefined
      this.#drop(...longest)
    }
    const entry = create()
    this.#held.set(key, entry)
    return entry
  }

  #drop(key: string, entry: E): void {
    this.#idle.delete(key)
    this.#options.onDrop?.(entry)
  }
}
