/**
 * Bytes held for peers, counted at every level they belong to: a connection, its owner (a pod), the process. Each
 * level has its own limit and holds what its children hold.
 */
export class MemoryAccount {
  readonly limit: number
  readonly #parent: MemoryAccount | undefined
  #used = 0

  constructor(limit: number, parent?: MemoryAccount) {
    this.limit = limit
    this.#parent = parent
  }

  get used(): number {
    return this.#used
  }

  /** True if `bytes` more fit at this level and all above it. */
  fits(bytes: number): boolean {
    return this.#used + bytes <= this.limit && (this.#parent?.fits(bytes) ?? true)
  }

  /** True while at most half of every level is used: there is enough to be generous with. */
  get relaxed(): boolean {
    return this.#used * 2 <= this.limit && (this.#parent?.relaxed ?? true)
  }

  /** Negative when memory is given back. Does not refuse: ask `fits` before. */
  add(bytes: number): void {
    this.#used += bytes
    this.#parent?.add(bytes)
  }
}

/** What all HBONE connections of this thread hold together, unless their makers say otherwise. */
export const threadMemory = new MemoryAccount(512 * 1024 * 1024)
