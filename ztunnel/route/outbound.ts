import { parsePrincipal } from '../../shared/authz/principal.ts'
import { identityOf, type Service, type Workload } from '../../shared/mesh/model.ts'
import { familyOf, formatEndpoint } from '../../shared/runtime/ip-address.ts'
import type { ResponseFlag } from '../../shared/telemetry/connection-record.ts'
import { selectEndpoint } from './balance.ts'
import type { MeshView } from './mesh-view.ts'
import { isRecursiveCall, SELF_CALL } from './own-ports.ts'

/** Where a captured connection was going, in canonical text. */
export interface Destination {
  readonly address: string
  readonly port: number
}

export interface OutboundInput {
  /** The captured pod. */
  readonly source: Workload
  readonly destination: Destination
  /** The network of this node. */
  readonly network: string
  readonly mesh: MeshView
  /** At least 0 and less than 1. */
  readonly random: () => number
  /** Where peers serve HBONE; default 15008. */
  readonly hbonePort?: number
}

export type OutboundRoute =
  | {
      readonly kind: 'hbone'
      /** The peer to dial: the pod's address and the HBONE port. */
      readonly target: Destination
      /** Of the CONNECT: the pod's address and the application's port. */
      readonly authority: string
      /** The peer must prove one of these. Never empty. */
      readonly expectedIdentities: readonly string[]
      readonly workload: Workload
      readonly service: Service | undefined
    }
  | {
      /** A workload of which we know that it does not speak HBONE. */
      readonly kind: 'plaintext'
      readonly target: Destination
      readonly workload: Workload
      readonly service: Service | undefined
    }
  | {
      /** Nothing that the mesh knows: the original destination, as it is. */
      readonly kind: 'passthrough'
      readonly target: Destination
      readonly service: Service | undefined
    }
  | OutboundDenial

export interface OutboundDenial {
  readonly kind: 'deny'
  readonly code: string
  /** The text of the access log (ztunnel spec 14.2). */
  readonly error: string
  readonly flag: ResponseFlag
  /** What was being addressed, as far as it was known. */
  readonly service: Service | undefined
}

/** A workload to connect to, and the service through which it was chosen. */
interface Upstream {
  readonly workload: Workload
  readonly port: number
  readonly service: Service | undefined
}

/**
 * Decides where a captured connection goes (ztunnel spec 2.2, A to E in order).
 *
 * Two points are stricter than the model, so that nothing in the mesh is ever spoken to in plaintext by way of a
 * service that shares its address: a workload whose address also belongs to a service without endpoints is not passed through, and a
 * PASSTHROUGH service that covers the address of a known workload does not hide the workload.
 */
export function routeOutbound(input: OutboundInput): OutboundRoute {
  const { source, destination, network, mesh } = input
  if (isRecursiveCall(destination)) return deny(SELF_CALL.code, SELF_CALL.error)
  const addressed =
    mesh.workloadByAddress(network, destination.address) === undefined
      ? mesh.serviceByAddress(network, destination.address, source.namespace)
      : undefined
  if (addressed !== undefined && hasWaypoint(addressed)) return throughServiceWaypoint(addressed)

  const upstream = upstreamOf(input)
  if (upstream === 'unhealthy') return noHealthyUpstream(destination, addressed)
  if (upstream === undefined) {
    const known = addressed !== undefined && addressed.loadBalancing.mode !== 'PASSTHROUGH'
    if (known) return noHealthyUpstream(destination, addressed)
    if (mesh.isRefused(network, destination.address)) return refused(destination, addressed)
    return { kind: 'passthrough', target: destination, service: addressed }
  }
  if (upstream.workload.network !== source.network) return throughGateway(upstream, destination)
  if (addressed === undefined && upstream.workload.waypoint !== undefined) {
    return throughWorkloadWaypoint(upstream)
  }
  // Only if the address is both a workload's and, by a range, a service's; the model goes past the waypoint.
  if (upstream.service !== undefined && hasWaypoint(upstream.service)) {
    return throughServiceWaypoint(upstream.service)
  }
  return direct(upstream, input)
}

/** Step B: services before workloads, the opposite of step A. Undefined if the mesh knows nothing here. */
function upstreamOf(input: OutboundInput): Upstream | 'unhealthy' | undefined {
  const { source, destination, mesh, random } = input
  const { address, port } = destination
  const service = mesh.serviceByAddress(source.network, address, source.namespace)
  if (service !== undefined && service.loadBalancing.mode !== 'PASSTHROUGH') {
    const endpoints = mesh.endpointsOf(service)
    const selection = selectEndpoint({ source, service, port, endpoints, random })
    return selection === undefined ? 'unhealthy' : { ...selection, service }
  }
  const workload = mesh.workloadByAddress(source.network, address)
  return workload && { workload, port, service: undefined }
}

/** Step E. */
function direct(upstream: Upstream, input: OutboundInput): OutboundRoute {
  const { workload, port, service } = upstream
  if (workload.applicationTunnel !== undefined) return throughApplicationTunnel(upstream)
  const address = addressFor(upstream, input)
  if (address === undefined) return withoutAddress(upstream)
  if (workload.tunnelProtocol === 'NONE') {
    return { kind: 'plaintext', target: { address, port }, workload, service }
  }
  return {
    kind: 'hbone',
    target: { address, port: input.hbonePort ?? 15_008 },
    authority: formatEndpoint(address, port),
    expectedIdentities: expectedIdentitiesOf(workload, service),
    workload,
    service,
  }
}

/** The service's own names, where they are SPIFFE identities, and the workload's (ztunnel spec 1.3). */
function expectedIdentitiesOf(workload: Workload, service: Service | undefined): string[] {
  const names = (service?.subjectAltNames ?? []).filter((name) => parsePrincipal(name))
  return [...new Set([...names, identityOf(workload)])]
}

/** Ztunnel spec 2.5: the address that was dialled, if it is one; else one of a family that the service has, at best the caller's. */
function addressFor({ workload, service }: Upstream, input: OutboundInput): string | undefined {
  const { destination } = input
  const { addresses } = workload
  if (addresses.includes(destination.address)) return destination.address
  const family = familyOf(destination.address)
  let other: string | undefined
  for (const address of addresses) {
    if (!servesFamily(service, familyOf(address))) continue
    if (familyOf(address) === family) return address
    other ??= address
  }
  return other
}

function servesFamily(service: Service | undefined, family: 4 | 6): boolean {
  switch (service?.ipFamilies) {
    case 'IPV4_ONLY':
      return family === 4
    case 'IPV6_ONLY':
      return family === 6
    case 'AUTOMATIC':
    case 'DUAL':
    case undefined:
      return true
  }
}

/** Zero-weight waypoints are never chosen, and if all are zero the single one counts. */
const hasWaypoint = (service: Service): boolean =>
  service.waypoint !== undefined || service.weightedWaypoints.some(({ weight }) => weight > 0)

// The branches below belong to features that do not exist yet. What they would reach must not be reached in any
// other way: a waypoint enforces policies.

/** Step A1. */
const throughServiceWaypoint = (service: Service): OutboundDenial =>
  deny(
    'ROUTE_WAYPOINT_UNSUPPORTED',
    `waypoints are not supported yet: service ${service.key} has one`,
    service,
  )

/** Step D. */
const throughWorkloadWaypoint = ({ workload, service }: Upstream): OutboundDenial =>
  deny(
    'ROUTE_WAYPOINT_UNSUPPORTED',
    `waypoints are not supported yet: workload ${nameOf(workload)} has one`,
    service,
  )

/** Step C. */
function throughGateway(upstream: Upstream, destination: Destination): OutboundDenial {
  const { workload, service } = upstream
  if (service === undefined) {
    const target = formatEndpoint(destination.address, destination.port)
    return deny('ROUTE_NO_SERVICE', `no service for target address: ${target}`)
  }
  if (workload.networkGateway === undefined) {
    return deny('ROUTE_NO_GATEWAY', `no gateway address: ${nameOf(workload)}`, service)
  }
  const text = `other networks are not supported yet: workload ${nameOf(workload)} is on network ${JSON.stringify(workload.network)}`
  return deny('ROUTE_NETWORK_UNSUPPORTED', text, service)
}

const throughApplicationTunnel = ({ workload, service }: Upstream): OutboundDenial =>
  deny(
    'ROUTE_APPLICATION_TUNNEL_UNSUPPORTED',
    `application tunnels are not supported yet: workload ${nameOf(workload)} has one`,
    service,
  )

function withoutAddress({ workload, service }: Upstream): OutboundDenial {
  if (workload.addresses.length === 0 && workload.hostname !== '') {
    const text = `workloads that are found by DNS are not supported yet: ${nameOf(workload)} is ${workload.hostname}`
    return deny('ROUTE_DNS_UNSUPPORTED', text, service)
  }
  return deny('ROUTE_NO_ENDPOINTS', `no endpoints for workload: ${nameOf(workload)}`, service)
}

function noHealthyUpstream(to: Destination, service: Service | undefined): OutboundDenial {
  const text = `no healthy upstream: ${formatEndpoint(to.address, to.port)}`
  return deny('ROUTE_NO_HEALTHY_UPSTREAM', text, service)
}

const refused = (to: Destination, service: Service | undefined): OutboundDenial =>
  deny(
    'ROUTE_INVALID_WORKLOAD',
    `the workload at ${formatEndpoint(to.address, to.port)} was refused as invalid`,
    service,
  )

const nameOf = (workload: Workload): string => `${workload.namespace}/${workload.name}`

const deny = (code: string, error: string, service?: Service): OutboundDenial => ({
  kind: 'deny',
  code,
  error,
  flag: 'CONNECT',
  service,
})
