/** Enough for most blocks. Given back after each, as blocks are rarely cut and connections mostly idle. */
const FIRST_BYTES = 1_024

/**
 * A header block that did not arrive in one piece. Grows as bytes come, not as a frame head promises, so that a
 * promise costs the peer as much as it costs us. The caller bounds what it appends.
 */
export class HeaderBlock {
  #bytes: Uint8Array | undefined
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Valid until the next call; the block is bytes 0 to `length`. */
  get bytes(): Uint8Array {
    return this.#room(0)
  }

  append(source: Uint8Array, start: number, end: number): void {
    const target = this.#room(end - start)
    if (start === 0 && end === source.length) target.set(source, this.#length)
    else target.set(source.subarray(start, end), this.#length)
    this.#length += end - start
  }

  /** Removes the bytes outside `start` to `end`, both counted from `from`, where a frame's payload begins. */
  trim(from: number, start: number, end: number): void {
    if (start > 0) this.#room(0).copyWithin(from, from + start, from + end)
    this.#length = from + end - start
  }

  clear(): void {
    this.#length = 0
    this.#bytes = undefined
  }

  #room(more: number): Uint8Array {
    const need = this.#length + more
    const old = this.#bytes
    if (old !== undefined && old.length >= need) return old
    const grown = new Uint8Array(Math.max(FIRST_BYTES, need, 2 * (old?.length ?? 0)))
    if (old !== undefined) grown.set(old.subarray(0, this.#length))
    this.#bytes = grown
    return grown
  }
}
