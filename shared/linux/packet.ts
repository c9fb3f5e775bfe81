import { formatIpAddress } from '../runtime/ip-address.ts'

/** An IP packet in an Ethernet frame, as far as TCP and UDP reach. */
export interface Packet {
  readonly family: 4 | 6
  /** Canonical text. */
  readonly source: string
  readonly destination: string
  /** IP protocol number: 6 is TCP, 17 UDP, 58 ICMPv6; of a later fragment too. */
  readonly protocol: number
  /** Of TCP and UDP; 0 else, and in later fragments. */
  readonly sourcePort: number
  readonly destinationPort: number
  /** The flag bits of TCP (`TCP_FLAGS`), 0 for everything else. */
  readonly tcpFlags: number
  /** What the innermost header that was understood carries, without link padding. */
  readonly payload: Buffer
}

export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17

export const TCP_FLAGS = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const

const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_IPV6 = 0x86dd
const VLAN_TAGS: ReadonlySet<number> = new Set([0x8100, 0x88a8])

/** Hop-by-hop, routing, destination options: all of one shape. */
const V6_OPTIONS: ReadonlySet<number> = new Set([0, 43, 60])
const V6_FRAGMENT = 44

interface Network {
  readonly family: 4 | 6
  readonly source: string
  readonly destination: string
  readonly protocol: number
  readonly laterFragment: boolean
  readonly payload: Buffer
}

/**
 * Reads an Ethernet frame. Undefined for what is not IP (ARP, ...) and for what is cut before its headers end; a
 * payload that was cut short by the capture is given as far as it goes.
 */
export function parseFrame(bytes: Buffer): Packet | undefined {
  let at = 12
  if (bytes.length < 14) return undefined
  let type = bytes.readUInt16BE(at)
  while (VLAN_TAGS.has(type)) {
    at += 4
    if (bytes.length < at + 2) return undefined
    type = bytes.readUInt16BE(at)
  }
  const packet = bytes.subarray(at + 2)
  const network =
    type === ETHERTYPE_IPV4 ? readV4(packet) : type === ETHERTYPE_IPV6 ? readV6(packet) : undefined
  return network === undefined ? undefined : readTransport(network)
}

function readV4(packet: Buffer): Network | undefined {
  const headerBytes = ((packet[0] ?? 0) & 15) * 4
  if ((packet[0] ?? 0) >> 4 !== 4 || headerBytes < 20 || packet.length < headerBytes)
    return undefined
  // Offload leaves the length of a large frame at 0.
  const total = packet.readUInt16BE(2) || packet.length
  if (total < headerBytes) return undefined
  return {
    family: 4,
    source: addressAt(packet, 12, 4),
    destination: addressAt(packet, 16, 4),
    protocol: packet.readUInt8(9),
    laterFragment: (packet.readUInt16BE(6) & 0x1fff) !== 0,
    payload: packet.subarray(headerBytes, total),
  }
}

function readV6(packet: Buffer): Network | undefined {
  if (packet.length < 40 || packet.readUInt8(0) >> 4 !== 6) return undefined
  const length = packet.readUInt16BE(4)
  const end = length === 0 ? packet.length : Math.min(40 + length, packet.length)
  let protocol = packet.readUInt8(6)
  let at = 40
  let laterFragment = false
  while (!laterFragment && (V6_OPTIONS.has(protocol) || protocol === V6_FRAGMENT)) {
    if (at + 8 > end) return undefined
    const isFragment = protocol === V6_FRAGMENT
    laterFragment = isFragment && packet.readUInt16BE(at + 2) >> 3 !== 0
    protocol = packet.readUInt8(at)
    at += isFragment ? 8 : (packet.readUInt8(at + 1) + 1) * 8
  }
  if (at > end) return undefined
  return {
    family: 6,
    source: addressAt(packet, 8, 16),
    destination: addressAt(packet, 24, 16),
    protocol,
    laterFragment,
    payload: packet.subarray(at, end),
  }
}

function readTransport({ laterFragment, ...network }: Network): Packet | undefined {
  const { protocol, payload } = network
  if (laterFragment || (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP)) {
    return { ...network, sourcePort: 0, destinationPort: 0, tcpFlags: 0 }
  }
  if (payload.length < 8) return undefined
  const ports = { sourcePort: payload.readUInt16BE(0), destinationPort: payload.readUInt16BE(2) }
  if (protocol === PROTOCOL_UDP) {
    return { ...network, ...ports, tcpFlags: 0, payload: payload.subarray(8) }
  }
  if (payload.length < 20) return undefined
  const headerBytes = (payload.readUInt8(12) >> 4) * 4
  if (headerBytes < 20 || headerBytes > payload.length) return undefined
  const tcpFlags = payload.readUInt8(13)
  return { ...network, ...ports, tcpFlags, payload: payload.subarray(headerBytes) }
}

const addressAt = (packet: Buffer, offset: number, length: 4 | 16): string =>
  formatIpAddress(packet.subarray(offset, offset + length)) ?? ''
