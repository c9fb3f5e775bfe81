import {
  LoadBalancing_HealthPolicy as HealthPolicy,
  IPFamilies,
  type LoadBalancing,
  LoadBalancing_Mode as Mode,
  type NetworkAddress,
  LoadBalancing_Scope as Scope,
  type Service as ServiceMessage,
  Visibility,
} from '../../shared/proto/generated/workload.ts'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import type { Namespace } from '../kinds/namespace.ts'
import type { Service } from '../kinds/service.ts'
import { appProtocolOf } from './app-protocol.ts'
import { networkAddress } from './encode.ts'
import type { MeshContext } from './mesh-options.ts'
import { clusterIpsOf, hostnameOf } from './service-view.ts'

export const TRAFFIC_DISTRIBUTION = 'networking.istio.io/traffic-distribution'

/** Addresses of ours that a service has, by hostname. */
export type FindVips = (namespace: string, hostname: string) => readonly string[]

/** The service of a Kubernetes Service (controlplane spec, section 1.8); undefined for a mere alias. */
export function kubernetesService(
  mesh: MeshContext,
  service: Service,
  namespace: Namespace | undefined,
  findVips: FindVips,
): ServiceMessage | undefined {
  const { metadata, spec } = service
  if (spec.type === 'ExternalName') return undefined
  const hostname = hostnameOf(service, mesh.domain)
  const own = clusterIpsOf(service)
  const addresses = own.length > 0 ? own : findVips(metadata.namespace, hostname)
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    hostname,
    addresses: addresses.flatMap((address) => singleAddress(mesh, address)),
    ports: spec.ports.map((port) => ({
      servicePort: port.port,
      targetPort: typeof port.targetPort === 'string' ? 0 : port.targetPort || port.port,
      appProtocol: appProtocolOf(port),
    })),
    subjectAltNames: [],
    waypoint: undefined,
    loadBalancing: loadBalancingOf(service, namespace),
    ipFamilies: ipFamiliesOf(spec.ipFamilies),
    extensions: [],
    canonical: true,
    ingressUseWaypoint: false,
    weightedWaypoints: [],
    visibility: Visibility.PUBLIC,
  }
}

export function singleAddress(mesh: MeshContext, address: string): NetworkAddress[] {
  const bytes = parseIpAddress(address)
  return bytes === undefined ? [] : [networkAddress(mesh.network, bytes)]
}

const SAME_ZONE = [Scope.NETWORK, Scope.REGION, Scope.ZONE]
const SAME_NODE = [...SAME_ZONE, Scope.SUBZONE, Scope.NODE]

/** The first that says something decides: local policy, spec, annotation of the service, of the namespace. */
export function loadBalancingOf(
  { metadata, spec }: Service,
  namespace: Namespace | undefined,
): LoadBalancing | undefined {
  const healthPolicy = spec.publishNotReadyAddresses
    ? HealthPolicy.ALLOW_ALL
    : HealthPolicy.ONLY_HEALTHY
  if (spec.internalTrafficPolicy === 'Local') {
    return { routingPreference: [Scope.NODE], mode: Mode.STRICT, healthPolicy }
  }
  const preference =
    preferenceOf(spec.trafficDistribution) ??
    preferenceOf(metadata.annotations[TRAFFIC_DISTRIBUTION]) ??
    preferenceOf(namespace?.metadata.annotations[TRAFFIC_DISTRIBUTION]) ??
    []
  if (preference.length > 0) {
    return { routingPreference: [...preference], mode: Mode.FAILOVER, healthPolicy }
  }
  if (healthPolicy === HealthPolicy.ONLY_HEALTHY) return undefined
  return { routingPreference: [], mode: Mode.UNSPECIFIED_MODE, healthPolicy }
}

function preferenceOf(distribution: string | undefined): readonly Scope[] | undefined {
  switch ((distribution ?? '').toLowerCase()) {
    case 'preferclose':
    case 'prefersamezone':
      return SAME_ZONE
    case 'prefersamenode':
      return SAME_NODE
    case 'any':
      return []
    default:
      return undefined
  }
}

function ipFamiliesOf(families: readonly string[]): IPFamilies {
  const v4 = families.includes('IPv4')
  const v6 = families.includes('IPv6')
  if (v4 && v6) return IPFamilies.DUAL
  if (v4) return IPFamilies.IPV4_ONLY
  return v6 ? IPFamilies.IPV6_ONLY : IPFamilies.AUTOMATIC
}
