import type { HeaderField } from './hpack-static.ts'

/** What an entry costs beside its octets (RFC 7541 section 4.1). */
const ENTRY_OVERHEAD = 32

/** The size of a field as tables and SETTINGS_MAX_HEADER_LIST_SIZE count it. */
export function fieldSize({ name, value }: HeaderField): number {
  return name.length + value.length + ENTRY_OVERHEAD
}

/** The dynamic table (RFC 7541 sections 2.3.2, 4): the newest entry first, the oldest evicted. */
export class DynamicTable {
  /** A ring, as large as the entries were at most; the entry `age` back from the newest is at `#newest - age`. */
  #ring: (HeaderField | undefined)[] = []
  #newest = -1
  #count = 0
  #size = 0
  #maxSize: number

  constructor(maxSize: number) {
    this.#maxSize = maxSize
  }

  get count(): number {
    return this.#count
  }

  get size(): number {
    return this.#size
  }

  get maxSize(): number {
    return this.#maxSize
  }

  /** 0 is the newest; undefined beyond the oldest. */
  entry(age: number): HeaderField | undefined {
    if (age >= this.#count) return undefined
    return this.#ring[(this.#newest - age) & (this.#ring.length - 1)]
  }

  /** A field larger than the table empties it and is not kept, which is no error (section 4.4). */
  add(field: HeaderField): void {
    const size = fieldSize(field)
    this.#shrink(this.#maxSize - size)
    if (size > this.#maxSize) return
    if (this.#count === this.#ring.length) this.#grow()
    this.#newest = (this.#newest + 1) & (this.#ring.length - 1)
    this.#ring[this.#newest] = field
    this.#count++
    this.#size += size
  }

  resize(maxSize: number): void {
    this.#maxSize = maxSize
    this.#shrink(maxSize)
  }

  #shrink(size: number): void {
    while (this.#size > size && this.#count > 0) {
      const oldest = (this.#newest - this.#count + 1) & (this.#ring.length - 1)
      const field = this.#ring[oldest]
      this.#ring[oldest] = undefined
      this.#count--
      if (field !== undefined) this.#size -= fieldSize(field)
    }
  }

  /** To the next power of two, the entries from the oldest on at its beginning. */
  #grow(): void {
    const entries: (HeaderField | undefined)[] = []
    for (let age = this.#count - 1; age >= 0; age--) entries.push(this.entry(age))
    const room = Math.max(8, this.#ring.length * 2)
    this.#newest = entries.length - 1
    while (entries.length < room) entries.push(undefined)
    this.#ring = entries
  }
}
