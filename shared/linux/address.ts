/**
 * Addresses as the kernel hands them out. One spelling per address (RFC 5952, an IPv4-mapped address as IPv4), so
 * that texts can be compared.
 */

const V4_PART = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const V4 = new RegExp(`^${V4_PART}(?:\\.${V4_PART}){3}$`)
const GROUP = /^[0-9a-f]{1,4}$/i
const MAPPED = '::ffff:'

/**
 * The one spelling of an address. Text that is no address comes back as it is, so that logs can show it; it then
 * equals no address.
 */
export function canonicalAddress(text: string): string {
  if (!text.includes(':')) return text
  // What a dual-stack socket shows for every IPv4 peer, so worth a short way.
  if (text.startsWith(MAPPED) && V4.test(text.slice(MAPPED.length))) {
    return text.slice(MAPPED.length)
  }
  const groups = groupsOf(text)
  return groups === undefined ? text : textOfGroups(groups)
}

/** 4 or 16 bytes (16 for an IPv4-mapped address too); undefined for anything that is not exactly one address. */
export function addressBytes(text: string): Buffer | undefined {
  if (!text.includes(':')) return V4.test(text) ? v4Bytes(text) : undefined
  const groups = groupsOf(text)
  if (groups === undefined) return undefined
  const bytes = Buffer.alloc(16)
  groups.forEach((group, index) => bytes.writeUInt16BE(group, index * 2))
  return bytes
}

/** Canonical text of the 4 or 16 bytes at `offset`. */
export function addressText(bytes: Buffer, family: 4 | 6, offset = 0): string {
  if (family === 4) {
    return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
  }
  const groups: number[] = []
  for (let at = offset; at < offset + 16; at += 2) groups.push(bytes.readUInt16BE(at))
  return textOfGroups(groups)
}

/** `ip:port`, or `[v6]:port`. */
export function formatHostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/**
 * Reads `ip:port` or `[v6]:port` into the canonical address and a port from 1 to 65535; undefined for anything
 * else, names of hosts too.
 */
export function parseHostPort(text: string): { address: string; port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([\d.]{7,15})):([1-9]\d{0,4})$/.exec(text)
  if (match === null) return undefined
  const [, v6, v4, digits] = match
  const port = Number(digits)
  const address = v6 ?? v4 ?? ''
  if (port > 65_535 || addressBytes(address) === undefined) return undefined
  if (v6 !== undefined && !v6.includes(':')) return undefined
  return { address: canonicalAddress(address), port }
}

const v4Bytes = (text: string): Buffer => Buffer.from(text.split('.').map(Number))

/** The eight groups of an IPv6 address. */
function groupsOf(text: string): readonly number[] | undefined {
  if (text.length > 45) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = partsOf(halves[0] ?? '', halves.length === 1)
  const tail = halves.length === 2 ? partsOf(halves[1] ?? '', true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  // `::` stands for at least one group.
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined
  return [...head, ...Array<number>(missing).fill(0), ...tail]
}

function partsOf(text: string, v4Last: boolean): number[] | undefined {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (v4Last && index === parts.length - 1 && V4.test(part)) {
      const bytes = v4Bytes(part)
      groups.push(bytes.readUInt16BE(0), bytes.readUInt16BE(2))
    } else if (GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16))
    } else {
      return undefined
    }
  }
  return groups
}

function textOfGroups(groups: readonly number[]): string {
  if (groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)) {
    const [high = 0, low = 0] = groups.slice(6)
    return `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`
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
