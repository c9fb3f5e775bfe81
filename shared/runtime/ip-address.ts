/**
 * IP addresses as bytes: 4 for IPv4, 16 for IPv6, and 4 for an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2),
 * because a caller that arrives on a dual-stack socket is still the same caller.
 */

/** Undefined for anything that is not exactly one address; zone identifiers are refused. */
export function parseIpAddress(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text)
}

/** The IPv4 address inside an IPv4-mapped one; any other bytes as they are. */
export function unmapped(bytes: Uint8Array): Uint8Array {
  return isMapped(bytes) ? bytes.subarray(12) : bytes
}

/** Whether 16 bytes lie in `::ffff:0:0/96`. */
export function isMapped(bytes: Uint8Array): boolean {
  if (bytes.length !== 16 || bytes[10] !== 0xff || bytes[11] !== 0xff) return false
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false
  return true
}

/** Whether the first `length` bits of both agree. Addresses of different families never do. */
export function isInPrefix(address: Uint8Array, prefix: Uint8Array, length: number): boolean {
  if (address.length !== prefix.length) return false
  const whole = length >> 3
  for (let index = 0; index < whole; index++) if (address[index] !== prefix[index]) return false
  const rest = length & 7
  if (rest === 0) return true
  return (((address[whole] ?? 0) ^ (prefix[whole] ?? 0)) & (0xff00 >> rest) & 0xff) === 0
}

function parseV4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4)
  return readV4(text, 0, bytes, 0) ? bytes : undefined
}

/** Four decimal numbers without leading zeros, from `start` to the end of `text`. */
function readV4(text: string, start: number, into: Uint8Array, at: number): boolean {
  let part = 0
  let value = 0
  let digits = 0
  for (let index = start; index <= text.length; index++) {
    const code = index === text.length ? DOT : text.charCodeAt(index)
    if (code === DOT) {
      if (digits === 0 || part === 4) return false
      into[at + part++] = value
      value = 0
      digits = 0
      continue
    }
    if (code < 48 || code > 57 || (digits === 1 && value === 0)) return false
    value = value * 10 + code - 48
    digits++
    if (value > 255) return false
  }
  return part === 4
}

const DOT = 46

function parseV6(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined
  const gap = text.indexOf('::')
  const bytes = new Uint8Array(16)
  if (gap < 0) return readGroups(text, bytes, true) === 16 ? unmapped(bytes) : undefined
  const head = readGroups(text.slice(0, gap), bytes, false)
  const tail = new Uint8Array(16)
  const tailLength = readGroups(text.slice(gap + 2), tail, true)
  if (head < 0 || tailLength < 0 || head + tailLength > 14) return undefined
  bytes.set(tail.subarray(0, tailLength), 16 - tailLength)
  return unmapped(bytes)
}

/** How many bytes the groups of `text` filled, or -1. The last group may be an IPv4 address if `v4Last`. */
function readGroups(text: string, into: Uint8Array, v4Last: boolean): number {
  if (text === '') return 0
  let at = 0
  const groups = text.split(':')
  for (const [index, group] of groups.entries()) {
    if (at + 2 > 16) return -1
    if (v4Last && index === groups.length - 1 && group.includes('.')) {
      return at + 4 <= 16 && readV4(group, 0, into, at) ? at + 4 : -1
    }
    if (!GROUP.test(group)) return -1
    const value = Number.parseInt(group, 16)
    into[at++] = value >> 8
    into[at++] = value & 0xff
  }
  return at
}

const GROUP = /^[0-9a-fA-F]{1,4}$/

/** The text of RFC 5952 for 4 or 16 bytes; an IPv4-mapped address as IPv4. Undefined for any other length. */
export function formatIpAddress(bytes: Uint8Array): string | undefined {
  const address = unmapped(bytes)
  if (address.length === 4) return address.join('.')
  return address.length === 16 ? formatV6(address) : undefined
}

/** The one spelling under which the mesh knows an address; undefined if `text` is none. */
export function canonicalAddress(text: string): string | undefined {
  const bytes = parseIpAddress(text)
  return bytes === undefined ? undefined : formatIpAddress(bytes)
}

/** For logs and comparisons: the address of a socket's end, which is gone once the socket is closed. */
export const endAddress = (text: string | undefined): string =>
  canonicalAddress(text ?? '') ?? 'unknown'

/** Of a canonical address. */
export const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4)

/** Of a canonical address: 127.0.0.0/8 or ::1. */
export const isLoopback = (address: string): boolean =>
  address === '::1' || (familyOf(address) === 4 && address.startsWith('127.'))

/** `ip:port`, or `[v6]:port`. */
export const formatEndpoint = (address: string, port: number): string =>
  familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`

function formatV6(bytes: Uint8Array): string {
  const groups: number[] = []
  for (let index = 0; index < 16; index += 2) {
    groups.push(((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0))
  }
  const gap = longestZeros(groups)
  const hex = (part: readonly number[]): string => part.map((one) => one.toString(16)).join(':')
  if (gap.length < 2) return hex(groups)
  return `${hex(groups.slice(0, gap.start))}::${hex(groups.slice(gap.start + gap.length))}`
}

/** The first of the longest runs of zero groups. */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let length = 0
  for (const [index, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0
    if (length > best.length) best = { start: index - length + 1, length }
  }
  return best
}
