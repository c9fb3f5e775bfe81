import {
  LoadBalancing_HealthPolicy as HealthPolicy,
  IPFamilies,
  LoadBalancing_Mode as Mode,
  type NetworkAddress,
  type Service as ServiceMessage,
  Visibility,
  type Workload,
} from '../../shared/proto/generated/workload.ts'
import { parseIpBlock } from '../kinds/ip-block.ts'
import type { ServiceEntry } from '../kinds/service-entry.ts'
import type { EndpointSpec } from '../kinds/workload-entry.ts'
import { parseAppProtocol } from './app-protocol.ts'
import { networkAddress } from './encode.ts'
import type { MeshContext } from './mesh-options.ts'
import { type FindVips, singleAddress } from './service.ts'
import { allocatedAddressesOf, entryPorts, type ServiceView } from './service-view.ts'
import { telemetryNames, workloadOf } from './workload-common.ts'
import { endpointFields } from './workload-entry.ts'

/** The service of one host of a ServiceEntry (controlplane spec, section 1.9). */
export function externalService(
  mesh: MeshContext,
  entry: ServiceEntry,
  host: { readonly hostname: string; readonly canonical: boolean },
  findVips: FindVips,
): ServiceMessage {
  const { metadata, spec } = entry
  const passthrough = {
    routingPreference: [],
    mode: Mode.PASSTHROUGH,
    healthPolicy: HealthPolicy.ALLOW_ALL,
  }
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    hostname: host.hostname,
    addresses: addressesOf(mesh, entry, host.hostname, findVips),
    ports: spec.ports.map((port) => ({
      servicePort: port.number,
      targetPort: port.targetPort || port.number,
      appProtocol: parseAppProtocol(port.protocol ?? '') ?? 0,
    })),
    subjectAltNames: [...spec.subjectAltNames],
    waypoint: undefined,
    loadBalancing: spec.resolution === 'NONE' ? passthrough : undefined,
    ipFamilies: IPFamilies.AUTOMATIC,
    extensions: [],
    canonical: host.canonical,
    ingressUseWaypoint: false,
    weightedWaypoints: [],
    visibility: Visibility.PUBLIC,
  }
}

/**
 * The workloads of the endpoints that a ServiceEntry lists, or that its hosts imply (controlplane spec, section 1.7).
 * `views` are the services it won: without any, its endpoints serve nothing and are left out.
 */
export function endpointWorkloads(
  mesh: MeshContext,
  entry: ServiceEntry,
  views: readonly ServiceView[],
  policies: readonly string[],
): Workload[] {
  const { metadata, spec } = entry
  if (views.length === 0) return []
  const workloads = new Map<string, Workload>()
  const add = (endpoint: EndpointSpec, served: readonly ServiceView[]): void => {
    const uid = `${mesh.clusterId}/networking.istio.io/ServiceEntry/${metadata.namespace}/${metadata.name}/${endpoint.address ?? ''}`
    // The uid has no room for the same address twice; the first one stands.
    if (workloads.has(uid)) return
    const services = served.map((view) => [
      `${view.namespace}/${view.hostname}`,
      entryPorts(view, endpoint.ports),
    ])
    workloads.set(
      uid,
      workloadOf(mesh, {
        uid,
        name: metadata.name,
        namespace: metadata.namespace,
        ...endpointFields(mesh, endpoint, metadata.labels),
        services: Object.fromEntries(services),
        authorizationPolicies: [...policies],
        ...telemetryNames(metadata.labels, metadata.name),
      }),
    )
  }
  for (const endpoint of spec.endpoints) add(endpoint, views)
  if (impliesEndpoints(entry)) {
    for (const view of views) add({ ...IMPLIED, address: view.hostname }, [view])
  }
  return [...workloads.values()]
}

const IMPLIED: EndpointSpec = {
  address: undefined,
  ports: {},
  labels: {},
  network: undefined,
  locality: undefined,
  weight: undefined,
  serviceAccount: undefined,
}

function impliesEndpoints({ spec }: ServiceEntry): boolean {
  const byName = spec.resolution !== 'NONE' && spec.resolution !== 'STATIC'
  return byName && spec.endpoints.length === 0 && spec.workloadSelector === undefined
}

function addressesOf(
  mesh: MeshContext,
  entry: ServiceEntry,
  hostname: string,
  findVips: FindVips,
): NetworkAddress[] {
  const { metadata, spec } = entry
  if (spec.addresses.length > 0) {
    return spec.addresses.flatMap((text) => {
      const block = parseIpBlock(text)
      if (block === undefined) return []
      const whole = block.length === block.address.length * 8
      const length = block.range && !whole ? block.length : undefined
      return [networkAddress(mesh.network, block.address, length)]
    })
  }
  const allocated = allocatedAddressesOf(entry, hostname)
  const addresses = allocated.length > 0 ? allocated : findVips(metadata.namespace, hostname)
  return addresses.flatMap((address) => singleAddress(mesh, address))
}
