import type { MemoryAccount } from './memory-account.ts'

const SMALLEST_BLOCK = 1024
const BLOCK_BYTES = 64 * 1024
/** Whole blocks that are kept for reuse on this thread: 4 MiB. */
const SPARE_BLOCKS = 64

const spares: Uint8Array[] = []

/**
 * Bytes that wait, first in first out, in blocks that are small for few bytes and 64 KiB for many. What goes in is
 * copied. `capacity` is the memory held, at most 128 KiB above `length`; the account is told of every change of it.
 */
export class ByteQueue {
  readonly #blocks: Uint8Array[] = []
  readonly #account: MemoryAccount
  /** First byte in the first block, and the first free one in the last. */
  #head = 0
  #tail = 0
  #length = 0
  #capacity = 0

  constructor(account: MemoryAccount) {
    this.#account = account
  }

  get length(): number {
    return this.#length
  }

  get capacity(): number {
    return this.#capacity
  }

  push(chunk: Uint8Array): void {
    let from = 0
    while (from < chunk.length) {
      let block = this.#blocks.at(-1)
      if (block === undefined || this.#tail === block.length) {
        block = this.#grow(chunk.length - from)
      }
      const to = Math.min(chunk.length, from + block.length - this.#tail)
      block.set(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to), this.#tail)
      this.#tail += to - from
      from = to
    }
    this.#length += chunk.length
  }

  /** At most `max` bytes of the front, in one piece; valid until the next call. Empty only if the queue is. */
  front(max: number): Uint8Array {
    const block = this.#blocks[0]
    if (block === undefined) return NOTHING
    const end = this.#blocks.length === 1 ? this.#tail : block.length
    return block.subarray(this.#head, Math.min(end, this.#head + max))
  }

  /** Forgets bytes of the front, at most as many as `front` showed. */
  drop(bytes: number): void {
    this.#head += bytes
    this.#length -= bytes
    const block = this.#blocks[0]
    if (block === undefined) return
    if (this.#length === 0) this.clear()
    else if (this.#head === block.length) {
      this.#blocks.shift()
      this.#release(block)
      this.#head = 0
    }
  }

  clear(): void {
    for (const block of this.#blocks) this.#release(block)
    this.#blocks.length = 0
    this.#head = 0
    this.#tail = 0
    this.#length = 0
  }

  #grow(wanted: number): Uint8Array {
    const size = blockSize(Math.max(wanted, this.#capacity))
    const block = (size === BLOCK_BYTES ? spares.pop() : undefined) ?? Buffer.allocUnsafeSlow(size)
    this.#blocks.push(block)
    this.#capacity += size
    this.#account.add(size)
    this.#tail = 0
    return block
  }

  #release(block: Uint8Array): void {
    this.#capacity -= block.length
    this.#account.add(-block.length)
    if (block.length === BLOCK_BYTES && spares.length < SPARE_BLOCKS) spares.push(block)
  }
}

const NOTHING = new Uint8Array(0)

function blockSize(wanted: number): number {
  if (wanted >= BLOCK_BYTES) return BLOCK_BYTES
  let size = SMALLEST_BLOCK
  while (size < wanted) size *= 2
  return size
}
