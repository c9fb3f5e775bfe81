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
