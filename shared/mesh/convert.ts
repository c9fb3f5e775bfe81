import {
  Address,
  type GatewayAddress as GatewayProto,
  type LoadBalancing as LoadBalancingProto,
  type NetworkAddress as NetworkAddressProto,
  type Port as PortProto,
  type Service as ServiceProto,
  type Workload as WorkloadProto,
} from '../proto/generated/workload.ts'
import { describeError } from '../runtime/errors.ts'
import { formatIpAddress } from '../runtime/ip-address.ts'
import type {
  ApplicationTunnel,
  GatewayAddress,
  LoadBalancing,
  PortMap,
  Scope,
  Service,
  ServiceAddress,
  ServiceKey,
  Workload,
} from './model.ts'

export type AddressResult =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service }
  | {
      readonly kind: 'rejected'
      readonly errors: readonly string[]
      /** Addresses that it is about all the same, as `network/ip`. */
      readonly claims: readonly string[]
    }

/**
 * Reads an `istio.workload.Address` resource with the defaults of ztunnel spec section 8, and refuses what
 * controlplane spec section 0.5 lists: unknown enum values (but an unknown visibility is PUBLIC), gateways without
 * destination, service keys without a slash, addresses that are not 4 or 16 bytes, ports above 65535; also a
 * body that does not carry the resource's name.
 */
export function parseAddressResource(resourceName: string, body: Uint8Array): AddressResult {
  let proto: Address
  try {
    proto = Address.decode(body)
  } catch (error) {
    return { kind: 'rejected', errors: [`not an Address: ${describeError(error)}`], claims: [] }
  }
  const errors = new Errors()
  switch (proto.type?.$case) {
    case 'workload': {
      const workload = workloadOf(proto.type.value, errors)
      errors.sameName(workload.uid, resourceName)
      if (errors.list.length === 0) return { kind: 'workload', workload }
      return errors.rejected(workload.addresses.map((one) => `${workload.network}/${one}`))
    }
    case 'service': {
      const service = serviceOf(proto.type.value, errors)
      errors.sameName(service.key, resourceName)
      if (errors.list.length === 0) return { kind: 'service', service }
      return errors.rejected(service.addresses.map((one) => `${one.network}/${one.address}`))
    }
    case undefined:
      return { kind: 'rejected', errors: ['neither a workload nor a service'], claims: [] }
  }
}

/** One answer to the sender names at most this many faults. */
const MOST_ERRORS = 10

class Errors {
  readonly list: string[] = []

  add(path: string, reason: string): void {
    if (this.list.length < MOST_ERRORS) this.list.push(`${path}: ${reason}`)
  }

  sameName(own: string, resourceName: string): void {
    if (own !== resourceName) this.add('name', `the body calls itself ${JSON.stringify(own)}`)
  }

  rejected(claims: readonly string[]): AddressResult {
    return { kind: 'rejected', errors: this.list, claims }
  }

  /** The name of an enum value; of the first one, with an error, if there is none. */
  oneOf<T extends string>(names: readonly [T, ...T[]], value: number, path: string): T {
    const name = names[value]
    if (name !== undefined) return name
    this.add(path, `unknown value ${value}`)
    return names[0]
  }

  port(value: number, path: string): number {
    if (value > 65_535) this.add(path, `no port: ${value}`)
    return value
  }
}

function workloadOf(from: WorkloadProto, errors: Errors): Workload {
  if (from.uid === '') errors.add('uid', 'empty')
  return {
    uid: from.uid,
    name: from.name,
    namespace: from.namespace,
    serviceAccount: from.serviceAccount || 'default',
    trustDomain: from.trustDomain || 'cluster.local',
    addresses: [...new Set(from.addresses.map((one, at) => ipOf(one, `addresses[${at}]`, errors)))],
    hostname: from.hostname,
    network: from.network,
    networkGateway: gatewayOf(from.networkGateway, 'network_gateway', errors),
    networkMode: errors.oneOf(['STANDARD', 'HOST_NETWORK'], from.networkMode, 'network_mode'),
    node: from.node,
    clusterId: from.clusterId || 'Kubernetes',
    // LEGACY_ISTIO_MTLS (2) is not in the list, so it is refused.
    tunnelProtocol: errors.oneOf(['NONE', 'HBONE'], from.tunnelProtocol, 'tunnel_protocol'),
    nativeTunnel: from.nativeTunnel,
    applicationTunnel: applicationTunnelOf(from.applicationTunnel, errors),
    waypoint: gatewayOf(from.waypoint, 'waypoint', errors),
    status: errors.oneOf(['HEALTHY', 'UNHEALTHY'], from.status, 'status'),
    canonicalName: from.canonicalName,
    canonicalRevision: from.canonicalRevision,
    workloadType: errors.oneOf(WORKLOAD_TYPES, from.workloadType, 'workload_type'),
    workloadName: from.workloadName,
    locality: {
      region: from.locality?.region ?? '',
      zone: from.locality?.zone ?? '',
      subzone: from.locality?.subzone ?? '',
    },
    services: membershipOf(from.services, errors),
    authorizationPolicies: from.authorizationPolicies,
    capacity: from.capacity ?? 1,
  }
}

const WORKLOAD_TYPES = ['deployment', 'cronjob', 'pod', 'job'] as const

function applicationTunnelOf(
  from: WorkloadProto['applicationTunnel'],
  errors: Errors,
): ApplicationTunnel | undefined {
  if (from === undefined) return undefined
  return {
    protocol: errors.oneOf(['NONE', 'PROXY'], from.protocol, 'application_tunnel.protocol'),
    port: errors.port(from.port, 'application_tunnel.port'),
  }
}

function membershipOf(
  from: WorkloadProto['services'],
  errors: Errors,
): ReadonlyMap<ServiceKey, PortMap> {
  const services = new Map<ServiceKey, PortMap>()
  for (const [key, list] of Object.entries(from)) {
    const path = `services[${JSON.stringify(key)}]`
    if (!key.includes('/')) errors.add(path, 'no namespace/hostname')
    services.set(key, portsOf(list.ports, path, errors))
  }
  return services
}

function serviceOf(from: ServiceProto, errors: Errors): Service {
  if (from.hostname === '') errors.add('hostname', 'empty')
  return {
    key: `${from.namespace}/${from.hostname}`,
    name: from.name,
    namespace: from.namespace,
    hostname: from.hostname,
    addresses: from.addresses.map((one, at) => vipOf(one, `addresses[${at}]`, errors)),
    ports: portsOf(from.ports, 'ports', errors),
    subjectAltNames: from.subjectAltNames,
    waypoint: gatewayOf(from.waypoint, 'waypoint', errors),
    weightedWaypoints: from.weightedWaypoints.flatMap(({ destination, weight }, at) => {
      const path = `weighted_waypoints[${at}].destination`
      if (destination === undefined) errors.add(path, 'missing')
      const gateway = gatewayOf(destination, path, errors)
      return gateway === undefined ? [] : [{ destination: gateway, weight }]
    }),
    loadBalancing: loadBalancingOf(from.loadBalancing, errors),
    ipFamilies: errors.oneOf(IP_FAMILIES, from.ipFamilies, 'ip_families'),
    canonical: from.canonical,
    visibility: from.visibility === 1 ? 'NAMESPACE' : 'PUBLIC',
  }
}

const IP_FAMILIES = ['AUTOMATIC', 'IPV4_ONLY', 'IPV6_ONLY', 'DUAL'] as const

function loadBalancingOf(from: LoadBalancingProto | undefined, errors: Errors): LoadBalancing {
  const path = 'load_balancing'
  return {
    mode: errors.oneOf(MODES, from?.mode ?? 0, `${path}.mode`),
    healthPolicy: errors.oneOf(
      ['ONLY_HEALTHY', 'ALLOW_ALL'],
      from?.healthPolicy ?? 0,
      `${path}.health_policy`,
    ),
    routingPreference: (from?.routingPreference ?? []).flatMap((value, at): Scope[] => {
      const scope = SCOPES.get(value)
      if (scope !== undefined) return [scope]
      errors.add(`${path}.routing_preference[${at}]`, `unknown value ${value}`)
      return []
    }),
  }
}

const MODES = ['STANDARD', 'STRICT', 'FAILOVER', 'PASSTHROUGH'] as const

const SCOPES: ReadonlyMap<number, Scope> = new Map([
  [1, 'REGION'],
  [2, 'ZONE'],
  [3, 'SUBZONE'],
  [4, 'NODE'],
  [5, 'CLUSTER'],
  [6, 'NETWORK'],
])

function portsOf(from: readonly PortProto[], path: string, errors: Errors): PortMap {
  const ports = new Map<number, number>()
  for (const [at, { servicePort, targetPort }] of from.entries()) {
    errors.port(targetPort, `${path}[${at}].target_port`)
    ports.set(errors.port(servicePort, `${path}[${at}].service_port`), targetPort)
  }
  return ports
}

function gatewayOf(
  from: GatewayProto | undefined,
  path: string,
  errors: Errors,
): GatewayAddress | undefined {
  if (from === undefined) return undefined
  const hboneMtlsPort = errors.port(from.hboneMtlsPort, `${path}.hbone_mtls_port`)
  switch (from.destination?.$case) {
    case undefined:
      errors.add(path, 'no destination')
      return undefined
    case 'hostname': {
      const { namespace, hostname } = from.destination.value
      return { kind: 'hostname', namespace, hostname, hboneMtlsPort }
    }
    case 'address': {
      const { network, address } = from.destination.value
      return { kind: 'address', network, address: ipOf(address, path, errors), hboneMtlsPort }
    }
  }
}

function vipOf(from: NetworkAddressProto, path: string, errors: Errors): ServiceAddress {
  const { network, address, length } = from
  const text = ipOf(address, path, errors)
  if (length === undefined) return { network, address: text, length }
  if (length > address.length * 8) errors.add(`${path}.length`, `a prefix of ${length} bits`)
  // An IPv4-mapped range is spoken of as the IPv4 one.
  const mapped = address.length === 16 && !text.includes(':')
  if (mapped && length < 96) errors.add(`${path}.length`, `${length} bits of an IPv4-mapped range`)
  const bits = mapped ? length - 96 : length
  return {
    network,
    address: text,
    length: bits === (mapped ? 32 : address.length * 8) ? undefined : bits,
  }
}

function ipOf(bytes: Uint8Array, path: string, errors: Errors): string {
  const text = formatIpAddress(bytes)
  if (text === undefined) errors.add(path, `an address of ${bytes.length} bytes`)
  return text ?? ''
}
