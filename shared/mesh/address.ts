import { parseIpAddress, unmapped } from '../authz/ip-address.ts'

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
