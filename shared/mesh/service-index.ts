import { isInPrefix, parseIpAddress } from '../runtime/ip-address.ts'
import type { Service, ServiceKey } from './model.ts'

interface Range {
  readonly service: Service
  readonly prefix: Uint8Array
  readonly length: number
}

/** The services of the mesh by key, address and hostname, with the sharing and visibility rules of ztunnel spec 2.6. */
export class ServiceIndex {
  readonly #byKey = new Map<ServiceKey, Service>()
  readonly #byAddress = new Map<string, readonly Service[]>()
  readonly #byHostname = new Map<string, readonly Service[]>()
  /** By network. */
  readonly #ranges = new Map<string, readonly Range[]>()

  get all(): ReadonlyMap<ServiceKey, Service> {
    return this.#byKey
  }

  byKey(key: ServiceKey): Service | undefined {
    return this.#byKey.get(key)
  }

  /** An exact address first; ranges only if no visible service has it. */
  byAddress(network: string, address: string, clientNamespace: string): Service | undefined {
    const exact = this.#byAddress.get(`${network}/${address}`)
    return best(exact ?? [], clientNamespace) ?? this.#byRange(network, address, clientNamespace)
  }

  byHostname(hostname: string, clientNamespace: string): Service | undefined {
    return best(this.#byHostname.get(hostname.toLowerCase()) ?? [], clientNamespace)
  }

  put(service: Service): void {
    this.remove(service.key)
    this.#byKey.set(service.key, service)
    add(this.#byHostname, service.hostname.toLowerCase(), service)
    for (const key of addressKeysOf(service)) add(this.#byAddress, key, service)
    for (const [network, ranges] of rangesOf(service)) {
      this.#ranges.set(network, [...(this.#ranges.get(network) ?? []), ...ranges].sort(byKey))
    }
  }

  remove(key: ServiceKey): void {
    const service = this.#byKey.get(key)
    if (service === undefined) return
    this.#byKey.delete(key)
    drop(this.#byHostname, service.hostname.toLowerCase(), key)
    for (const address of addressKeysOf(service)) drop(this.#byAddress, address, key)
    for (const network of rangesOf(service).keys()) {
      const left = this.#ranges.get(network)?.filter((range) => range.service.key !== key) ?? []
      if (left.length === 0) this.#ranges.delete(network)
      else this.#ranges.set(network, left)
    }
  }

  /** Rank: same namespace, then the longer prefix, then canonical, then the first. */
  #byRange(network: string, address: string, clientNamespace: string): Service | undefined {
    const ranges = this.#ranges.get(network)
    if (ranges === undefined) return undefined
    const bytes = parseIpAddress(address)
    if (bytes === undefined) return undefined
    let found: Range | undefined
    for (const range of ranges) {
      if (!isVisible(range.service, clientNamespace)) continue
      if (!isInPrefix(bytes, range.prefix, range.length)) continue
      if (found === undefined || isBetterRange(range, found, clientNamespace)) found = range
    }
    return found?.service
  }
}

const isVisible = (service: Service, clientNamespace: string): boolean =>
  service.visibility === 'PUBLIC' || service.namespace === clientNamespace

/** Rank: same namespace as the client, then canonical, then the first by key. */
function best(services: readonly Service[], clientNamespace: string): Service | undefined {
  let found: Service | undefined
  for (const service of services) {
    if (service.namespace === clientNamespace) return service
    if (!isVisible(service, clientNamespace)) continue
    if (found === undefined || (service.canonical && !found.canonical)) found = service
  }
  return found
}

function isBetterRange(a: Range, b: Range, clientNamespace: string): boolean {
  const near = (range: Range): boolean => range.service.namespace === clientNamespace
  if (near(a) !== near(b)) return near(a)
  if (a.length !== b.length) return a.length > b.length
  return a.service.canonical && !b.service.canonical
}

const addressKeysOf = (service: Service): Set<string> =>
  new Set(
    service.addresses
      .filter(({ length }) => length === undefined)
      .map(({ network, address }) => `${network}/${address}`),
  )

function rangesOf(service: Service): ReadonlyMap<string, Range[]> {
  const byNetwork = new Map<string, Range[]>()
  for (const { network, address, length } of service.addresses) {
    const prefix = length === undefined ? undefined : parseIpAddress(address)
    if (length === undefined || prefix === undefined) continue
    const ranges = byNetwork.get(network) ?? []
    ranges.push({ service, prefix, length })
    byNetwork.set(network, ranges)
  }
  return byNetwork
}

/** In the order of keys, so that every store with the same content gives the same answer. */
const byKey = (a: Range, b: Range): number => (a.service.key < b.service.key ? -1 : 1)

function add(index: Map<string, readonly Service[]>, key: string, service: Service): void {
  const others = index.get(key)
  const all = others === undefined ? [service] : [...others, service]
  index.set(
    key,
    all.sort((a, b) => (a.key < b.key ? -1 : 1)),
  )
}

function drop(index: Map<string, readonly Service[]>, key: string, service: ServiceKey): void {
  const left = index.get(key)?.filter((one) => one.key !== service) ?? []
  if (left.length === 0) index.delete(key)
  else index.set(key, left)
}
