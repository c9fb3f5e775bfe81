import { createHash } from 'node:crypto'
import { Authorization } from '../../shared/proto/generated/authorization.ts'
import {
  Address,
  type NetworkAddress,
  type PortList,
  type Service,
  type Workload,
} from '../../shared/proto/generated/workload.ts'
import { formatIpAddress } from '../../shared/runtime/ip-address.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type Resource } from './resource.ts'

/** Resource names and aliases: controlplane spec, section 0.3. */
export function workloadResource(workload: Workload): Resource {
  const services = sortedEntries(workload.services)
  const body = Address.encode({
    type: { $case: 'workload', value: { ...workload, services } },
  }).finish()
  const aliases = workload.addresses.map((address) => aliasOf(workload.network, address))
  return resource(ADDRESS_TYPE, workload.uid, aliases, body)
}

export function serviceResource(service: Service): Resource {
  const body = Address.encode({ type: { $case: 'service', value: service } }).finish()
  const aliases = service.addresses.map(({ network, address, length }) =>
    aliasOf(network, address, length),
  )
  return resource(ADDRESS_TYPE, `${service.namespace}/${service.hostname}`, aliases, body)
}

export function authorizationResource(authorization: Authorization): Resource {
  const body = Authorization.encode(authorization).finish()
  return resource(AUTHORIZATION_TYPE, `${authorization.namespace}/${authorization.name}`, [], body)
}

/** An address on the wire; `length` only for ranges. */
export const networkAddress = (
  network: string,
  address: Uint8Array,
  length?: number,
): NetworkAddress => ({
  network,
  address: Buffer.from(address),
  ...(length === undefined ? {} : { length }),
})

function resource(
  typeUrl: string,
  name: string,
  aliases: readonly string[],
  body: Uint8Array,
): Resource {
  const version = createHash('sha256').update(body).digest('hex').slice(0, 16)
  return { typeUrl, name, version, aliases, body }
}

function aliasOf(network: string, address: Uint8Array, length?: number): string {
  const alias = `${network}/${formatIpAddress(address) ?? ''}`
  return length === undefined ? alias : `${alias}/${length}`
}

/** Integer-like keys cannot occur: every key has a slash. So insertion order is the order on the wire. */
function sortedEntries(services: Record<string, PortList>): Record<string, PortList> {
  return Object.fromEntries(Object.entries(services).sort(([a], [b]) => (a < b ? -1 : 1)))
}
