import { AmbitError } from '../runtime/errors.ts'
import { DEFAULT_HEADER_TABLE_SIZE } from './frame.ts'
import { huffmanBytes, writeHuffman } from './hpack-huffman.ts'
import { type HeaderField, STATIC_NAMES } from './hpack-static.ts'

/** Fields that are secrets whatever the caller says (RFC 7541 section 7.1.3). */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'proxy-authorization',
  'set-cookie',
])

/** First octets of representations (RFC 7541 section 6). */
const INDEXED = 0x80
const SIZE_UPDATE = 0x20
const NEVER_INDEXED = 0x10
const NOT_INDEXED = 0x00
const HUFFMAN = 0x80

/** An index and two lengths, each of at most six octets. */
const FIELD_OVERHEAD = 18

export interface BlockCacheOptions {
  /** Blocks that are kept; the one unused for longest goes first. */
  readonly maxBlocks: number
  /**
   * Whether strings are Huffman coded when that is shorter: a fifth less on the wire for several times the work. Default: no.
   */
  readonly huffman?: boolean
}

/**
 * Header blocks that are sent again and again, such as the 200 of every tunnel. Since our blocks lean on no
 * dynamic table they are the same for every connection, so one cache can serve a whole thread.
 */
export class HeaderBlockCache {
  readonly #maxBlocks: number
  readonly #huffman: boolean
  readonly #blocks = new Map<string, Uint8Array>()

  constructor({ maxBlocks, huffman = false }: BlockCacheOptions) {
    this.#maxBlocks = maxBlocks
    this.#huffman = huffman
  }

  get size(): number {
    return this.#blocks.size
  }

  /** The encoded block; not to be changed. Lists with secrets are encoded anew each time. */
  blockOf(fields: readonly HeaderField[]): Uint8Array {
    if (fields.some(isSecret)) return this.freshBlockOf(fields)
    let key = ''
    for (const { name, value } of fields) key += `${name}\0${value}\0`
    const known = this.#blocks.get(key)
    if (known !== undefined) {
      if (this.#blocks.size > 1) this.#refresh(key, known)
      return known
    }
    const block = Uint8Array.from(this.freshBlockOf(fields))
    if (this.#blocks.size >= this.#maxBlocks) this.#evict()
    this.#blocks.set(key, block)
    return block
  }

  /** Encoded anew and not kept. Throws `HBONE_HEADER` for a character that is no octet. */
  freshBlockOf(fields: readonly HeaderField[]): Uint8Array {
    let room = 0
    for (const { name, value } of fields) room += name.length + value.length + FIELD_OVERHEAD
    const out = Buffer.allocUnsafe(room)
    const writeString = this.#huffman ? writeShorter : writeRaw
    let at = 0
    for (const field of fields) at = writeField(out, at, field, writeString)
    return out.subarray(0, at)
  }

  #refresh(key: string, block: Uint8Array): void {
    this.#blocks.delete(key)
    this.#blocks.set(key, block)
  }

  #evict(): void {
    for (const oldest of this.#blocks.keys()) {
      this.#blocks.delete(oldest)
      return
    }
  }
}

/**
 * Header blocks for one connection. The peer's dynamic table is left empty: what repeats is cached here in its
 * encoded form, and what does not repeat (addresses, trace ids) would only push entries out.
 */
export class HpackEncoder {
  readonly #cache: HeaderBlockCache
  #peerTableSize = DEFAULT_HEADER_TABLE_SIZE
  #mustShrink = false

  constructor(cache: HeaderBlockCache) {
    this.#cache = cache
  }

  /**
   * To be called with the peer's SETTINGS_HEADER_TABLE_SIZE before these SETTINGS are acknowledged. Below what the
   * table has now, the next block must begin with a size update (RFC 9113 section 4.3.1).
   */
  setPeerTableSize(bytes: number): void {
    if (bytes >= this.#peerTableSize) return
    // To zero at once: the table is not used, and so this is said once at most.
    this.#peerTableSize = 0
    this.#mustShrink = true
  }

  /** For lists that do not repeat. */
  encode(fields: readonly HeaderField[]): Uint8Array {
    return this.#withUpdate(this.#cache.freshBlockOf(fields))
  }

  /**
   * For lists that repeat: a look-up when the list is known. Finding a long list costs about what encoding it does
   * (without Huffman code), so this is for short ones, such as a bare 200. The block must not be changed.
   */
  encodeRepeated(fields: readonly HeaderField[]): Uint8Array {
    return this.#withUpdate(this.#cache.blockOf(fields))
  }

  #withUpdate(block: Uint8Array): Uint8Array {
    if (!this.#mustShrink) return block
    this.#mustShrink = false
    return Buffer.concat([Buffer.of(SIZE_UPDATE), block])
  }
}

function isSecret({ name, secret }: HeaderField): boolean {
  return secret === true || SECRET_NAMES.has(name)
}

/** Writes the length and the octets of `text`, which belongs to the header `field`. */
type WriteString = (out: Uint8Array, at: number, text: string, field: string) => number

function writeField(
  out: Uint8Array,
  at: number,
  field: HeaderField,
  writeString: WriteString,
): number {
  const { name, value } = field
  const known = STATIC_NAMES.get(name)
  const secret = isSecret(field)
  const index = secret ? undefined : known?.values.get(value)
  if (index !== undefined) return writeInteger(out, at, INDEXED, 0x7f, index)
  at = writeInteger(out, at, secret ? NEVER_INDEXED : NOT_INDEXED, 0x0f, known?.index ?? 0)
  if (known === undefined) at = writeString(out, at, name, name)
  return writeString(out, at, value, name)
}

/** Section 5.1 of RFC 7541; `first` holds the bits beside the prefix. */
function writeInteger(
  out: Uint8Array,
  at: number,
  first: number,
  prefix: number,
  value: number,
): number {
  if (value < prefix) {
    out[at] = first | value
    return at + 1
  }
  out[at++] = first | prefix
  let rest = value - prefix
  for (; rest >= 0x80; rest >>>= 7) out[at++] = (rest & 0x7f) | 0x80
  out[at] = rest
  return at + 1
}

function writeRaw(out: Uint8Array, at: number, text: string, field: string): number {
  at = writeInteger(out, at, 0, 0x7f, text.length)
  let seen = 0
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    seen |= unit
    out[at++] = unit
  }
  if (seen > 0xff) throw notOctets(field)
  return at
}

function writeShorter(out: Uint8Array, at: number, text: string, field: string): number {
  const bytes = huffmanBytes(text)
  if (bytes >= text.length || !isOctets(text)) return writeRaw(out, at, text, field)
  return writeHuffman(out, writeInteger(out, at, HUFFMAN, 0x7f, bytes), text)
}

function isOctets(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0xff) return false
  return true
}

function notOctets(field: string): AmbitError {
  return new AmbitError('HBONE_HEADER', `header ${field} has a character that is not an octet`)
}
