import {
  NetworkMode,
  TunnelProtocol,
  type Workload,
  WorkloadStatus,
} from '../../shared/proto/generated/workload.ts'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import type { Node } from '../kinds/node.ts'
import type { Pod } from '../kinds/pod.ts'
import type { MeshContext } from './mesh-options.ts'
import {
  localityOf,
  type Membership,
  speaksHbone,
  telemetryNames,
  workloadOf,
} from './workload-common.ts'

export interface PodInput extends Membership {
  readonly pod: Pod
  /** The node it runs on, if known. */
  readonly node: Node | undefined
  /** Its node agent has reported it captured. */
  readonly captured: boolean
}

/** The workload of a pod (controlplane spec, sections 1.1-1.5); undefined if the pod is none, or not yet. */
export function podWorkload(mesh: MeshContext, input: PodInput): Workload | undefined {
  const { pod, node } = input
  const { metadata, spec } = pod
  const addresses = podAddresses(pod).map(parseIpAddress)
  if (isFinished(pod) || addresses.length === 0 || addresses.includes(undefined)) return undefined
  const native = speaksHbone(metadata.labels)
  const captured = input.captured && !spec.hostNetwork
  return workloadOf(mesh, {
    uid: podUid(mesh, pod),
    name: metadata.name,
    namespace: metadata.namespace,
    addresses: addresses.flatMap((one) => (one === undefined ? [] : [Buffer.from(one)])),
    node: spec.nodeName ?? '',
    locality: nodeLocality(node),
    serviceAccount: spec.serviceAccountName,
    status: isHealthy(pod) ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    networkMode: spec.hostNetwork ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    tunnelProtocol: captured || native ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    nativeTunnel: native,
    services: input.services,
    authorizationPolicies: [...input.policies],
    ...telemetryNames(metadata.labels, workloadName(pod)),
  })
}

/** The name of the pod's workload in the workload API. */
export const podUid = (
  { clusterId }: Pick<MeshContext, 'clusterId'>,
  { metadata }: { readonly metadata: Pick<Pod['metadata'], 'namespace' | 'name'> },
): string => `${clusterId}//Pod/${metadata.namespace}/${metadata.name}`

/** Textual, in the order of the status. */
export function podAddresses({ status }: Pod): readonly string[] {
  if (status === undefined) return []
  if (status.podIPs.length > 0) return status.podIPs.map(({ ip }) => ip)
  return status.podIP ? [status.podIP] : []
}

export const isFinished = ({ status }: Pod): boolean =>
  status?.phase === 'Succeeded' || status?.phase === 'Failed'

/**
 * Ready, and not on its way out. A running pod whose status has no conditions at all is taken as ready: no cluster
 * writes such a status, people who write their pods as files do.
 */
function isHealthy({ metadata, status }: Pod): boolean {
  if (metadata.deletionTimestamp !== undefined || status === undefined) return false
  if (status.conditions.length === 0) return (status.phase ?? 'Running') === 'Running'
  return status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
}

export function nodeLocality(node: Node | undefined): Workload['locality'] {
  const labels = node?.metadata.labels ?? {}
  return localityOf(
    labels['topology.kubernetes.io/region'],
    labels['topology.kubernetes.io/zone'],
    labels['topology.istio.io/subzone'],
  )
}

function workloadName(pod: Pod): string {
  return pod.metadata.labels['service.istio.io/workload-name'] || ownerName(pod)
}

const CRON_JOB = /^(.+)-\d{8,10}$/

/** What made the pod: the Deployment rather than its ReplicaSet, the CronJob rather than its Job. */
function ownerName({ metadata }: Pod): string {
  const owner = metadata.ownerReferences.find(({ controller }) => controller)
  if (!metadata.generateName || owner === undefined) return metadata.name
  switch (owner.kind) {
    case 'ReplicaSet': {
      for (const label of ['pod-template-hash', 'rollouts-pod-template-hash']) {
        const suffix = `-${metadata.labels[label] ?? ''}`
        if (suffix.length > 1 && owner.name.endsWith(suffix)) {
          return owner.name.slice(0, -suffix.length) || owner.name
        }
      }
      return owner.name
    }
    case 'ReplicationController': {
      const config = metadata.labels['deploymentconfig']
      return config !== undefined && owner.name.startsWith(`${config}-`) ? config : owner.name
    }
    case 'Job':
      return CRON_JOB.exec(owner.name)?.[1] ?? owner.name
    default:
      return owner.name
  }
}
