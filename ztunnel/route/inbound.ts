import type { Service, Workload } from '../../shared/mesh/model.ts'
import { canonicalAddress, formatEndpoint } from '../../shared/runtime/ip-address.ts'
import type { ResponseFlag } from '../../shared/telemetry/connection-record.ts'
import { type Authority, parseAuthority } from './authority.ts'
import type { MeshView } from './mesh-view.ts'
import { OWN_PORTS, SELF_CALL } from './own-ports.ts'

export interface InboundInput {
  /** Of the request, as it came. */
  readonly authority: string
  readonly method: string
  /** The HBONE connection: `localAddress` is the pod's. */
  readonly connection: { readonly localAddress: string }
  /** Undefined if the mesh does not know the pod (the caller has waited). */
  readonly localWorkload: Workload | undefined
  readonly mesh: MeshView
  /** `host` of the `forwarded` header; a hint for telemetry. */
  readonly forwardedHost?: string | undefined
}

export type InboundRoute =
  | {
      readonly kind: 'forward'
      /** The pod's. */
      readonly address: string
      readonly port: number
      /** The service that was addressed, as far as it can be told; for telemetry. */
      readonly service: Service | undefined
    }
  | {
      readonly kind: 'refuse'
      /** Of the answer (ztunnel spec 1.6). */
      readonly status: 400 | 503
      readonly code: string
      readonly error: string
    }

/**
 * Decides what a CONNECT on the HBONE port is for (ztunnel spec 1.6, 3.2, 3.3). The pod is the only place it can
 * go to: an authority with another address is refused. Authorization comes after this.
 */
export function routeInbound(input: InboundInput): InboundRoute {
  const { method, localWorkload } = input
  if (method !== 'CONNECT') {
    return refuse(400, 'ROUTE_METHOD', `expected method CONNECT, got ${printable(method)}`)
  }
  const authority = parseAuthority(input.authority)
  if (authority === undefined)
    return refuse(400, 'ROUTE_AUTHORITY', authorityError(input.authority))
  const address = canonicalAddress(input.connection.localAddress)
  if (localWorkload === undefined || address === undefined) {
    const text = `failed to fetch information about local workload: ${input.connection.localAddress}`
    return refuse(503, 'ROUTE_UNKNOWN_LOCAL_WORKLOAD', text)
  }
  if (localWorkload.applicationTunnel !== undefined) return intoApplicationTunnel(localWorkload)
  if (authority.kind === 'hostname') {
    return toHostname(address, authority, { ...input, localWorkload })
  }
  if (authority.address !== address) {
    return refuse(400, 'ROUTE_IP_MISMATCH', `ip mismatch: ${address} != ${authority.address}`)
  }
  const { port } = authority
  if (OWN_PORTS.has(port)) return refuse(503, SELF_CALL.code, SELF_CALL.error)
  const service = likelyService(localWorkload, port, input.mesh, input.forwardedHost)
  return { kind: 'forward', address, port, service }
}

function toHostname(
  address: string,
  { hostname, port }: Extract<Authority, { kind: 'hostname' }>,
  { localWorkload, mesh }: { readonly localWorkload: Workload; readonly mesh: MeshView },
): InboundRoute {
  const service = mesh.serviceByHostname(hostname, localWorkload.namespace)
  if (service === undefined) {
    const text = `no service for target address: ${hostname}:${port}`
    return refuse(503, 'ROUTE_NO_SERVICE', text)
  }
  const target = localWorkload.services.get(service.key)?.get(port) || service.ports.get(port) || 0
  if (target === 0) {
    return refuse(503, 'ROUTE_NO_PORT', `no port for service: ${hostname}:${port}`)
  }
  if (OWN_PORTS.has(target)) return refuse(503, SELF_CALL.code, SELF_CALL.error)
  return { kind: 'forward', address, port: target, service }
}

/** Its place; until it exists, the application would not be told who is calling, so it gets no call. */
const intoApplicationTunnel = (workload: Workload): InboundRoute =>
  refuse(
    503,
    'ROUTE_APPLICATION_TUNNEL_UNSUPPORTED',
    `application tunnels are not supported yet: workload ${workload.namespace}/${workload.name} has one`,
  )

export interface PassthroughInput {
  /** The original destination, in canonical text. */
  readonly destination: { readonly address: string; readonly port: number }
  readonly sourceAddress: string
  /** The network of this node. */
  readonly network: string
  readonly localWorkload: Workload | undefined
  readonly mesh: MeshView
}

export type PassthroughRoute =
  | {
      readonly kind: 'forward'
      readonly address: string
      readonly port: number
      /** For telemetry; the caller has proved nothing. */
      readonly source: Workload | undefined
      readonly service: Service | undefined
    }
  | {
      readonly kind: 'deny'
      readonly code: string
      readonly error: string
      readonly flag: ResponseFlag
    }

/** Decides about a connection that came to the pod in plaintext (ztunnel spec 3.6). Authorization comes after this. */
export function routeInboundPassthrough(input: PassthroughInput): PassthroughRoute {
  const { destination, localWorkload, mesh, network } = input
  const { address, port } = destination
  if (OWN_PORTS.has(port)) {
    return { kind: 'deny', code: SELF_CALL.code, error: SELF_CALL.error, flag: 'CONNECT' }
  }
  if (localWorkload === undefined) {
    const error = `failed to fetch information about local workload: ${formatEndpoint(address, port)}`
    return { kind: 'deny', code: 'ROUTE_UNKNOWN_LOCAL_WORKLOAD', error, flag: 'CONNECT' }
  }
  const sourceAddress = canonicalAddress(input.sourceAddress)
  return {
    kind: 'forward',
    address,
    port,
    source:
      sourceAddress === undefined ? undefined : mesh.workloadByAddress(network, sourceAddress),
    service: likelyService(localWorkload, port, mesh, undefined),
  }
}

/** Which service a connection to a port of the pod was for: the one named, else the first with that target port. */
function likelyService(
  workload: Workload,
  port: number,
  mesh: MeshView,
  forwardedHost: string | undefined,
): Service | undefined {
  if (forwardedHost !== undefined) {
    const named = mesh.serviceByHostname(forwardedHost, workload.namespace)
    if (named !== undefined && workload.services.has(named.key)) return named
  }
  for (const [key, own] of workload.services) {
    const service = mesh.serviceByKey(key)
    if (service === undefined) continue
    for (const [servicePort, target] of service.ports) {
      if ((own.get(servicePort) || target) === port) return service
    }
  }
  return undefined
}

const authorityError = (authority: string): string =>
  authority === ''
    ? 'no valid authority pseudo header: '
    : `invalid CONNECT address ${printable(authority)}`

/** What a peer sent, short enough and safe for a log line. */
const printable = (text: string): string => text.slice(0, 128).replaceAll(/[^\x21-\x7e]/g, '?')

const refuse = (status: 400 | 503, code: string, error: string): InboundRoute => ({
  kind: 'refuse',
  status,
  code,
  error,
})
