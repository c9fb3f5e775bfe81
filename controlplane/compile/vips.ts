import { createHash } from 'node:crypto'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { formatIpAddress, parseIpAddress } from '../../shared/runtime/ip-address.ts'
import { parseIpBlock } from '../kinds/ip-block.ts'

export type IpFamily = 'IPv4' | 'IPv6'
export const IP_FAMILIES: readonly IpFamily[] = ['IPv4', 'IPv6']

/** One service's address, to be kept across restarts. */
export interface VipAssignment {
  /** `namespace/hostname`. */
  readonly service: string
  readonly address: string
}

/** Addresses of vanished services are remembered for their return, the most recent of them. */
const MOST_RELEASED = 4_096
const MOST_PROBES = 65_536

/**
 * Gives services without addresses their own, one a family. The same service gets the same address in every process
 * (its hash says which), unless that one is taken; once given, it is kept, whatever comes and goes.
 */
export class VipAllocator {
  readonly #ranges: Readonly<Record<IpFamily, Range>>
  /** `family service` -> address, of services that exist. */
  readonly #active = new Map<string, string>()
  /** The same for services that are gone, the longest gone first. */
  readonly #released = new Map<string, string>()
  /** Address -> `family service`, for both. */
  readonly #owners = new Map<string, string>()
  /** Addresses that objects name themselves, with how many do. */
  readonly #reserved = new Map<string, number>()

  /** Assignments outside the ranges are forgotten. Throws if a range is none. */
  constructor(rangeV4: string, rangeV6: string, initial: Iterable<VipAssignment> = []) {
    this.#ranges = { IPv4: rangeOf(rangeV4, 4), IPv6: rangeOf(rangeV6, 16) }
    for (const { service, address } of initial) {
      const bytes = parseIpAddress(address)
      if (bytes === undefined) continue
      const family = bytes.length === 4 ? 'IPv4' : 'IPv6'
      const text = formatIpAddress(bytes)
      const key = `${family} ${service}`
      if (text === undefined || !this.#ranges[family].contains(bytes)) continue
      if (this.#owners.has(text) || this.#released.has(key)) continue
      this.#released.set(key, text)
      this.#owners.set(text, key)
    }
    this.#trim()
  }

  /** The address of a service; undefined if it has none. */
  find(service: string, family: IpFamily): string | undefined {
    return this.#active.get(`${family} ${service}`)
  }

  /** Gives the service one address of each family, and takes those of other families back. False if a range is full. */
  ensure(service: string, families: readonly IpFamily[]): boolean {
    let complete = true
    for (const family of IP_FAMILIES) {
      const key = `${family} ${service}`
      if (!families.includes(family)) this.#release(key)
      else if (!this.#active.has(key) && !this.#assign(key, family)) complete = false
    }
    return complete
  }

  release(service: string): void {
    for (const family of IP_FAMILIES) this.#release(`${family} ${service}`)
  }

  /** An object names this address itself. Returns the service that had it and now needs another. */
  reserve(address: string): string | undefined {
    this.#reserved.set(address, (this.#reserved.get(address) ?? 0) + 1)
    const key = this.#owners.get(address)
    if (key === undefined) return undefined
    this.#owners.delete(address)
    this.#released.delete(key)
    return this.#active.delete(key) ? key.slice(key.indexOf(' ') + 1) : undefined
  }

  unreserve(address: string): void {
    const left = (this.#reserved.get(address) ?? 1) - 1
    if (left > 0) this.#reserved.set(address, left)
    else this.#reserved.delete(address)
  }

  /** Everything to be remembered, those of vanished services first. */
  assignments(): VipAssignment[] {
    return [...this.#released, ...this.#active].map(([key, address]) => ({
      service: key.slice(key.indexOf(' ') + 1),
      address,
    }))
  }

  #assign(key: string, family: IpFamily): boolean {
    const kept = this.#released.get(key)
    if (kept !== undefined) {
      this.#released.delete(key)
      this.#active.set(key, kept)
      return true
    }
    const range = this.#ranges[family]
    const start = createHash('sha256').update(key).digest().readBigUInt64BE()
    // In a full range what is only remembered gives way.
    for (const evict of [false, true]) {
      for (let probe = 0n; probe < Math.min(MOST_PROBES, range.size); probe++) {
        const address = range.at(start + probe)
        if (this.#reserved.has(address)) continue
        const owner = this.#owners.get(address)
        if (owner !== undefined && !(evict && this.#released.delete(owner))) continue
        this.#active.set(key, address)
        this.#owners.set(address, key)
        return true
      }
    }
    return false
  }

  #release(key: string): void {
    const address = this.#active.get(key)
    if (address === undefined) return
    this.#active.delete(key)
    this.#released.set(key, address)
    this.#trim()
  }

  #trim(): void {
    for (const [key, address] of this.#released) {
      if (this.#released.size <= MOST_RELEASED) return
      this.#released.delete(key)
      this.#owners.delete(address)
    }
  }
}

interface Range {
  /** How many addresses can be given. */
  readonly size: number
  contains(bytes: Uint8Array): boolean
  /** Any number; it wraps around. */
  at(index: bigint): string
}

/** Without the first and the last address, which IPv4 gives a meaning of their own. */
function rangeOf(text: string, width: 4 | 16): Range {
  const block = parseIpBlock(text)
  if (block === undefined || block.address.length !== width) {
    throw new AmbitError(
      'AMBIT_VIP_RANGE',
      `${JSON.stringify(text)} is no ${width === 4 ? 'IPv4' : 'IPv6'} CIDR`,
    )
  }
  const bits = BigInt(width * 8 - block.length)
  if (bits < 4n)
    throw new AmbitError('AMBIT_VIP_RANGE', `${text} is too small for services' addresses`)
  const first = (numberOf(block.address) >> bits) << bits
  const count = (1n << bits) - 2n
  return {
    size: Number(count),
    contains: (bytes) => {
      const offset = numberOf(bytes) - first
      return offset > 0n && offset <= count
    },
    at: (index) => formatIpAddress(bytesOf(first + 1n + (index % count), width)) ?? '',
  }
}

const numberOf = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)

const bytesOf = (value: bigint, width: number): Uint8Array =>
  Buffer.from(value.toString(16).padStart(width * 2, '0'), 'hex')
