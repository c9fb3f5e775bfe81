import {
  NetworkMode,
  type Workload,
  WorkloadStatus,
} from '../../shared/proto/generated/workload.ts'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import type { MeshContext } from './mesh-options.ts'
import { portList, type ServiceView } from './service-view.ts'
import { workloadOf } from './workload-common.ts'

/** The service that a slice belongs to, `namespace/name`. */
export function sliceServiceOf({ metadata }: EndpointSlice): string | undefined {
  const name = metadata.labels['kubernetes.io/service-name']
  return name ? `${metadata.namespace}/${name}` : undefined
}

type Endpoint = EndpointSlice['endpoints'][number]

/** The pod behind an endpoint, `namespace/name`. */
export function podOf({ metadata }: EndpointSlice, { targetRef }: Endpoint): string | undefined {
  if (targetRef?.kind !== 'Pod' || !targetRef.name) return undefined
  return `${targetRef.namespace || metadata.namespace}/${targetRef.name}`
}

/**
 * The workloads of the endpoints that are no pods (controlplane spec, section 1.7). Their network mode keeps
 * clients from finding them by address: the same address may be a workload of its own.
 */
export function sliceWorkloads(
  mesh: MeshContext,
  slice: EndpointSlice,
  view: ServiceView,
): Workload[] {
  if (slice.addressType === 'FQDN') return []
  const { name, namespace } = slice.metadata
  const workloads = new Map<string, Workload>()
  for (const endpoint of slice.endpoints) {
    if (endpoint.targetRef?.kind === 'Pod') continue
    const addresses = endpoint.addresses.flatMap((address) => {
      const bytes = parseIpAddress(address)
      return bytes === undefined ? [] : [Buffer.from(bytes)]
    })
    const uid = `${mesh.clusterId}/discovery.k8s.io/EndpointSlice/${namespace}/${name}/${endpoint.addresses[0] ?? ''}`
    if (addresses.length === 0 || workloads.has(uid)) continue
    workloads.set(
      uid,
      workloadOf(mesh, {
        uid,
        name,
        namespace,
        addresses,
        services: { [`${view.namespace}/${view.hostname}`]: portList(view, portIn(slice)) },
        status:
          endpoint.conditions?.ready === false ? WorkloadStatus.UNHEALTHY : WorkloadStatus.HEALTHY,
        networkMode: NetworkMode.HOST_NETWORK,
      }),
    )
  }
  return [...workloads.values()]
}

/** Ports of a slice are known by the names of the service's ports. */
const portIn =
  ({ ports }: EndpointSlice) =>
  ({ name }: { readonly name: string }): number | undefined =>
    ports.find((port) => (port.name ?? '') === name && port.protocol === 'TCP')?.port
