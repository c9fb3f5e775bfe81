import { AmbitError } from '../runtime/errors.ts'
import { type Asn1, type Asn1Type, asn1 } from './forge-asn1.ts'

// ASN.1 values as forge holds them: bytes are "binary strings", one character a byte.

const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class

export type Node = Asn1

export const malformed = (what: string, cause?: unknown): AmbitError =>
  new AmbitError('X509_MALFORMED', what, { cause })

/**
 * Reads one value that fills `bytes`. Anything but the one encoding that DER allows is refused, so that no other
 * parser can read something else into the same bytes. Throws `X509_MALFORMED`.
 */
export function parseDer(bytes: Uint8Array, what: string): Node {
  let node: Node
  let again: Buffer
  try {
    node = asn1.fromDer(Buffer.from(bytes).toString('latin1'), true)
    again = encodeDer(node)
  } catch (error) {
    throw malformed(`${what} is not DER`, error)
  }
  if (!again.equals(bytes)) throw malformed(`${what} is not in the canonical form of DER`)
  return node
}

export const encodeDer = (node: Node): Buffer => Buffer.from(asn1.toDer(node).getBytes(), 'latin1')

const numberOf = (node: Node): number => node.type

/** What a reader expects of a value: its tag, and whether it has parts. */
interface Expected {
  readonly type: number
  readonly context?: boolean
}

export function isTag(node: Node | undefined, { type, context = false }: Expected): boolean {
  if (node === undefined || numberOf(node) !== type) return false
  return node.tagClass === (context ? CONTEXT_SPECIFIC : UNIVERSAL)
}

/** The number of a context-specific tag; undefined for tags of other classes. */
export const contextTagOf = (node: Node): number | undefined =>
  node.tagClass === CONTEXT_SPECIFIC ? numberOf(node) : undefined

/** The parts of a SEQUENCE, SET or constructed context tag. */
export function partsOf(
  node: Node | undefined,
  what: string,
  expected: Expected = { type: asn1.Type.SEQUENCE },
): Node[] {
  if (node === undefined || !isTag(node, expected) || !node.constructed) {
    throw malformed(`${what} is missing or of the wrong type`)
  }
  if (!Array.isArray(node.value)) throw malformed(`${what} has no parts`)
  return node.value
}

/** The bytes of a primitive value. */
export function bytesOf(node: Node | undefined, what: string, expected: Expected): Buffer {
  if (node === undefined || !isTag(node, expected) || node.constructed) {
    throw malformed(`${what} is missing or of the wrong type`)
  }
  // Forge reads a BIT STRING that looks like DER as DER; the bytes are those of its encoding.
  if (typeof node.value !== 'string') return contentOf(encodeDer(node))
  return Buffer.from(node.value, 'latin1')
}

/** Past tag and length. */
function contentOf(der: Buffer): Buffer {
  const length = der[1] ?? 0
  return der.subarray(length < 0x80 ? 2 : 2 + (length & 0x7f))
}

export function oidOf(node: Node | undefined, what: string): string {
  const bytes = bytesOf(node, what, { type: asn1.Type.OID })
  // An unfinished last arc would be dropped in silence, and so would a padded one.
  const last = bytes.at(-1)
  if (last === undefined || last >= 0x80) throw malformed(`${what} is not an object identifier`)
  try {
    return asn1.derToOid(bytes.toString('latin1'))
  } catch (error) {
    throw malformed(`${what} is not an object identifier`, error)
  }
}

export function bitsOf(node: Node | undefined, what: string): Buffer {
  const bytes = bytesOf(node, what, { type: asn1.Type.BITSTRING })
  if (bytes[0] !== 0) throw malformed(`${what} is not a whole number of bytes`)
  return bytes.subarray(1)
}

export const octetsOf = (node: Node | undefined, what: string): Buffer =>
  bytesOf(node, what, { type: asn1.Type.OCTETSTRING })

export function booleanOf(node: Node | undefined, what: string): boolean {
  const bytes = bytesOf(node, what, { type: asn1.Type.BOOLEAN })
  if (bytes.length !== 1 || (bytes[0] !== 0 && bytes[0] !== 0xff)) {
    throw malformed(`${what} is not a boolean`)
  }
  return bytes[0] === 0xff
}

/** A positive INTEGER, big-endian without its leading zero. */
export function integerOf(node: Node | undefined, what: string): Buffer {
  const bytes = bytesOf(node, what, { type: asn1.Type.INTEGER })
  const first = bytes[0]
  if (first === undefined || first >= 0x80) throw malformed(`${what} is not a positive number`)
  return first === 0 && bytes.length > 1 ? bytes.subarray(1) : bytes
}

const primitive = (type: Asn1Type, bytes: Uint8Array): Node =>
  asn1.create(UNIVERSAL, type, false, Buffer.from(bytes).toString('latin1'))

export const sequence = (...parts: Node[]): Node =>
  asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, parts)

export const set = (...parts: Node[]): Node => asn1.create(UNIVERSAL, asn1.Type.SET, true, parts)

export const oid = (text: string): Node =>
  asn1.create(UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(text).getBytes())

/** From big-endian bytes of a number that is not negative. */
export const integer = (bytes: Uint8Array): Node =>
  primitive(asn1.Type.INTEGER, (bytes[0] ?? 0) >= 0x80 ? Buffer.from([0, ...bytes]) : bytes)

export const bits = (bytes: Uint8Array, unused = 0): Node =>
  primitive(asn1.Type.BITSTRING, Buffer.from([unused, ...bytes]))

export const octets = (bytes: Uint8Array): Node => primitive(asn1.Type.OCTETSTRING, bytes)

export const boolean = (value: boolean): Node =>
  primitive(asn1.Type.BOOLEAN, Buffer.from([value ? 0xff : 0]))

export const utf8 = (text: string): Node => primitive(asn1.Type.UTF8, Buffer.from(text))

export const empty = (): Node => asn1.create(UNIVERSAL, asn1.Type.NULL, false, '')

/** `[tag]` around whole values. */
export const explicit = (tag: number, ...parts: Node[]): Node =>
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- a context tag is a number, not a type
  asn1.create(CONTEXT_SPECIFIC, tag, true, parts)

/** `[tag]` in place of a primitive value's own tag. */
export const implicit = (tag: number, bytes: Uint8Array): Node =>
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- a context tag is a number, not a type
  asn1.create(CONTEXT_SPECIFIC, tag, false, Buffer.from(bytes).toString('latin1'))

/** A moment as RFC 5280 section 4.1.2.5 wants it: UTCTime up to 2049, GeneralizedTime from then on. */
export function time(ms: number): Node {
  const text = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '')
  const short = Number(text.slice(0, 4)) < 2050
  return asn1.create(
    UNIVERSAL,
    short ? asn1.Type.UTCTIME : asn1.Type.GENERALIZEDTIME,
    false,
    short ? text.slice(2) : text,
  )
}

/** Milliseconds since the epoch. */
export function timeOf(node: Node | undefined, what: string): number {
  const short = isTag(node, { type: asn1.Type.UTCTIME })
  const type = short ? asn1.Type.UTCTIME : asn1.Type.GENERALIZEDTIME
  const text = bytesOf(node, what, { type }).toString('latin1')
  const full = short ? `${Number(text.slice(0, 2)) >= 50 ? '19' : '20'}${text}` : text
  const parts = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(full)
  if (parts === null) throw malformed(`${what} is not a time`)
  const [, year, month, day, hour, minute, second] = parts
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
  const ms = Date.parse(iso)
  if (Number.isNaN(ms) || new Date(ms).toISOString() !== iso) {
    throw malformed(`${what} is not a time`)
  }
  return ms
}
