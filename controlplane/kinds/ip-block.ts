import { parseIpAddress } from '../../shared/runtime/ip-address.ts'

/** An address, or a range. */
export interface IpBlock {
  /** 4 or 16 bytes, as written: bits after `length` are kept. */
  readonly address: Uint8Array
  readonly length: number
  /** Whether the text named a length. */
  readonly range: boolean
}

const BITS = /^(?:0|[1-9]\d{0,2})$/

/** Undefined for what is neither. IPv4-mapped IPv6 becomes IPv4. */
export function parseIpBlock(value: string): IpBlock | undefined {
  const slash = value.indexOf('/')
  const host = slash < 0 ? value : value.slice(0, slash)
  const address = parseIpAddress(host)
  if (address === undefined) return undefined
  const width = address.length * 8
  if (slash < 0) return { address, length: width, range: false }
  const bits = value.slice(slash + 1)
  if (!BITS.test(bits)) return undefined
  const length = Number(bits) - (host.includes(':') && width === 32 ? 96 : 0)
  return length >= 0 && length <= width ? { address, length, range: true } : undefined
}
