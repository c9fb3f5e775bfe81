import { canonicalAddress } from '../../shared/runtime/ip-address.ts'

/** Where a CONNECT wants to go. */
export type Authority =
  | { readonly kind: 'address'; readonly address: string; readonly port: number }
  | { readonly kind: 'hostname'; readonly hostname: string; readonly port: number }

/**
 * Reads `ip:port`, `[v6]:port` or `host:port` (RFC 9113 section 8.5). Strict: the port is there, between 1 and 65535
 * and without leading zeros; a name is a DNS name, and nothing that looks like an address but is none. Addresses
 * come back in canonical text, names in lower case.
 */
export function parseAuthority(text: string): Authority | undefined {
  if (text.length > LONGEST) return undefined
  const colon = text.lastIndexOf(':')
  const port = colon < 0 ? undefined : parsePort(text.slice(colon + 1))
  if (port === undefined) return undefined
  const host = text.slice(0, colon)
  if (host.startsWith('[')) {
    if (!host.endsWith(']') || !host.includes(':')) return undefined
    const address = canonicalAddress(host.slice(1, -1))
    return address === undefined ? undefined : { kind: 'address', address, port }
  }
  if (host.includes(':')) return undefined
  const address = canonicalAddress(host)
  if (address !== undefined) return { kind: 'address', address, port }
  return isHostname(host) ? { kind: 'hostname', hostname: host.toLowerCase(), port } : undefined
}

/** A DNS name and a port. */
const LONGEST = 253 + 6

function parsePort(text: string): number | undefined {
  if (!/^[1-9]\d{0,4}$/.test(text)) return undefined
  const port = Number(text)
  return port <= 65_535 ? port : undefined
}

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i

function isHostname(text: string): boolean {
  if (text === '' || text.length > 253) return false
  const labels = text.split('.')
  // No top-level domain is a number: such a name is a mistyped IPv4 address.
  return labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '')
}
