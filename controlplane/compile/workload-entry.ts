import {
  TunnelProtocol,
  type Workload,
  WorkloadStatus,
} from '../../shared/proto/generated/workload.ts'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import type { EndpointSpec, WorkloadEntry } from '../kinds/workload-entry.ts'
import type { MeshContext } from './mesh-options.ts'
import {
  localityOf,
  type Membership,
  speaksHbone,
  telemetryNames,
  workloadOf,
} from './workload-common.ts'

/** The workload of a WorkloadEntry (controlplane spec, section 1.7); undefined if it has no address. */
export function entryWorkload(
  mesh: MeshContext,
  entry: WorkloadEntry,
  membership: Membership,
): Workload | undefined {
  if (!entry.spec.address) return undefined
  const { name, namespace, annotations } = entry.metadata
  const labels = entryLabels(entry)
  const group = 'istio.io/autoRegistrationGroup'
  return workloadOf(mesh, {
    uid: `${mesh.clusterId}/networking.istio.io/WorkloadEntry/${namespace}/${name}`,
    name,
    namespace,
    ...endpointFields(mesh, entry.spec, labels),
    services: membership.services,
    authorizationPolicies: [...membership.policies],
    ...telemetryNames(
      labels,
      annotations[group] || labels['service.istio.io/workload-name'] || name,
    ),
  })
}

/** Labels may be written in two places; those of the spec win. */
export const entryLabels = ({ metadata, spec }: WorkloadEntry): Record<string, string> => ({
  ...metadata.labels,
  ...spec.labels,
})

/** What an endpoint says about itself. */
export function endpointFields(
  mesh: MeshContext,
  spec: EndpointSpec,
  labels: Readonly<Record<string, string>>,
): Partial<Workload> {
  const address = parseIpAddress(spec.address ?? '')
  const [region, zone, subzone] = (spec.locality ?? '').split('/')
  const native = speaksHbone(labels)
  return {
    addresses: address === undefined ? [] : [Buffer.from(address)],
    hostname: address === undefined ? (spec.address ?? '') : '',
    network: spec.network || mesh.network,
    locality: localityOf(region, zone, subzone),
    capacity: spec.weight || undefined,
    serviceAccount: spec.serviceAccount ?? '',
    status: WorkloadStatus.HEALTHY,
    tunnelProtocol: native ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    nativeTunnel: native,
  }
}
