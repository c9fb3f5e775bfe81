import { connectionError, DEFAULT_HEADER_TABLE_SIZE, ErrorCode, type H2Error } from './frame.ts'
import { decodeHuffman, huffmanDecodedBound } from './hpack-huffman.ts'
import { type HeaderField, STATIC_FIELDS } from './hpack-static.ts'
import { DynamicTable, fieldSize } from './hpack-table.ts'

/** Header lists that a peer may send; what is beyond is decoded, since the table must follow, but not kept. */
export interface HeaderLimits {
  /** Sum of the sizes of all fields, each with 32 bytes added (RFC 9113 section 6.5.2). */
  readonly maxListBytes: number
  readonly maxFields: number
  readonly maxNameBytes: number
  readonly maxValueBytes: number
}

export type ExceededLimit = keyof HeaderLimits

/**
 * - `too-large`: a limit is exceeded; the connection can go on, the stream should not.
 * - `malformed`: the compression state is lost, the connection must end (RFC 9113 section 4.3).
 */
export type DecodedBlock =
  | { readonly kind: 'fields'; readonly fields: readonly HeaderField[] }
  | { readonly kind: 'too-large'; readonly limit: ExceededLimit }
  | { readonly kind: 'malformed'; readonly error: H2Error }

/** Integers with more octets than this are refused; it is enough for any value that could be legal. */
const MAX_INTEGER_OCTETS = 6
const MAX_INTEGER = 0x7f_ff_ff_ff

/**
 * Strings are put together here before they are made. One for all decoders of a thread, as decoding never waits;
 * bounded by the largest header block that a frame reader lets through.
 */
let scratch = Buffer.allocUnsafeSlow(4_096)

/** Header fields out of the blocks of one connection, in the order they came (RFC 7541). */
export class HpackDecoder {
  readonly #limits: HeaderLimits
  readonly #table = new DynamicTable(DEFAULT_HEADER_TABLE_SIZE)
  /** The SETTINGS_HEADER_TABLE_SIZE that the peer has acknowledged. */
  #allowedTableSize = DEFAULT_HEADER_TABLE_SIZE
  /** The peer has acknowledged less than its table has, and has to say so in its next block. */
  #mustShrink = false

  #block: Uint8Array = scratch
  #at = 0
  #end = 0
  #fields: HeaderField[] = []
  #listBytes = 0
  #exceeded: ExceededLimit | undefined
  #problem: string | undefined

  constructor(limits: HeaderLimits) {
    this.#limits = limits
  }

  /** How much the dynamic table holds and may hold, as RFC 7541 section 4.1 counts. */
  get tableSize(): number {
    return this.#table.size
  }

  /** To be called when the peer acknowledged SETTINGS with a HEADER_TABLE_SIZE (RFC 9113 section 4.3.1). */
  setAllowedTableSize(bytes: number): void {
    this.#allowedTableSize = bytes
    this.#mustShrink = bytes < this.#table.maxSize
  }

  /** A whole block: bytes `start` to `end` of `block`. After `malformed` there must be no further call. */
  decode(block: Uint8Array, start: number, end: number): DecodedBlock {
    this.#block = block
    this.#at = start
    this.#end = end
    this.#fields = []
    this.#listBytes = 0
    this.#exceeded = undefined
    this.#problem = undefined
    this.#readTableSizes()
    while (this.#at < end && this.#problem === undefined) this.#readField()
    const fields = this.#fields
    this.#fields = []
    this.#block = scratch
    if (this.#problem !== undefined) return this.#malformed(this.#at - start)
    if (this.#exceeded !== undefined) return { kind: 'too-large', limit: this.#exceeded }
    return { kind: 'fields', fields }
  }

  #malformed(offset: number): DecodedBlock {
    const message = `header block, byte ${offset}: ${this.#problem}`
    return { kind: 'malformed', error: connectionError(ErrorCode.COMPRESSION_ERROR, message) }
  }

  /** Size updates stand before all fields (RFC 7541 section 4.2). */
  #readTableSizes(): void {
    while (this.#at < this.#end && (this.#peek() & 0xe0) === 0x20) {
      const size = this.#integer(0x1f)
      if (this.#problem !== undefined) return
      if (size > this.#allowedTableSize) {
        this.#problem = `table size ${size} is more than the ${this.#allowedTableSize} allowed`
        return
      }
      this.#table.resize(size)
      this.#mustShrink = false
    }
    if (this.#mustShrink) this.#problem = 'a table size update is missing after a reduction'
  }

  #readField(): void {
    const octet = this.#peek()
    if (octet >= 0x80) return this.#readIndexed()
    if (octet >= 0x40) {
      const field = this.#literal(0x3f, false)
      if (field !== undefined) this.#table.add(field)
      return
    }
    if (octet >= 0x20) {
      this.#problem = 'a table size update after a field'
      return
    }
    this.#literal(0x0f, octet >= 0x10)
  }

  /** Section 6.1. */
  #readIndexed(): void {
    const field = this.#lookUp(this.#integer(0x7f))
    if (field !== undefined) this.#keep(field)
  }

  /** Section 6.2: the name by index or as a string, then the value. */
  #literal(prefix: number, secret: boolean): HeaderField | undefined {
    const index = this.#integer(prefix)
    if (this.#problem !== undefined) return undefined
    const name = index === 0 ? this.#string() : this.#lookUp(index)?.name
    const value = this.#problem === undefined ? this.#string() : undefined
    if (name === undefined || value === undefined) return undefined
    const field: HeaderField = secret ? { name, value, secret } : { name, value }
    this.#keep(field)
    return field
  }

  #keep(field: HeaderField): void {
    this.#listBytes += fieldSize(field)
    const exceeded = this.#exceeded ?? this.#exceededBy(field)
    if (exceeded === undefined) this.#fields.push(field)
    else {
      this.#exceeded = exceeded
      this.#fields = []
    }
  }

  #exceededBy({ name, value }: HeaderField): ExceededLimit | undefined {
    const limits = this.#limits
    if (name.length > limits.maxNameBytes) return 'maxNameBytes'
    if (value.length > limits.maxValueBytes) return 'maxValueBytes'
    if (this.#listBytes > limits.maxListBytes) return 'maxListBytes'
    return this.#fields.length >= limits.maxFields ? 'maxFields' : undefined
  }

  /** Section 2.3.3: the static table first, then the dynamic one. */
  #lookUp(index: number): HeaderField | undefined {
    if (this.#problem !== undefined) return undefined
    const dynamic = index - STATIC_FIELDS.length - 1
    const field = dynamic < 0 ? STATIC_FIELDS[index - 1] : this.#table.entry(dynamic)
    if (field === undefined) this.#problem = `index ${index} is in no table`
    return field
  }

  /** Section 5.1; `prefix` is the mask of the bits that the current octet has for it. */
  #integer(prefix: number): number {
    const first = this.#peek() & prefix
    this.#at++
    if (first < prefix) return first
    let value = first
    let weight = 1
    for (let octets = 0; octets < MAX_INTEGER_OCTETS; octets++) {
      if (this.#at >= this.#end) return this.#broken('an integer is cut off')
      const octet = this.#peek()
      this.#at++
      value += (octet & 0x7f) * weight
      if (octet < 0x80)
        return value <= MAX_INTEGER ? value : this.#broken('an integer is too large')
      weight *= 128
    }
    return this.#broken('an integer is too long')
  }

  /** Section 5.2. */
  #string(): string | undefined {
    if (this.#at >= this.#end) return this.#missing('a string is missing')
    const huffman = this.#peek() >= 0x80
    const length = this.#integer(0x7f)
    if (this.#problem !== undefined) return undefined
    const start = this.#at
    const end = start + length
    if (end > this.#end) return this.#missing('a string is cut off')
    this.#at = end
    if (huffman) return this.#huffman(start, end)
    return latin1Of(this.#block, start, end)
  }

  #huffman(start: number, end: number): string | undefined {
    const room = huffmanDecodedBound(end - start)
    if (scratch.length < room) scratch = Buffer.allocUnsafeSlow(room)
    const length = decodeHuffman(this.#block, start, end, scratch)
    if (length < 0) return this.#missing('a string breaks the Huffman code')
    return scratch.toString('latin1', 0, length)
  }

  #peek(): number {
    return this.#block[this.#at] ?? 0
  }

  #broken(problem: string): number {
    this.#problem = problem
    return 0
  }

  #missing(problem: string): undefined {
    this.#problem = problem
  }
}

function latin1Of(block: Uint8Array, start: number, end: number): string {
  const buffer = Buffer.isBuffer(block)
    ? block
    : Buffer.from(block.buffer, block.byteOffset, block.byteLength)
  return buffer.toString('latin1', start, end)
}
