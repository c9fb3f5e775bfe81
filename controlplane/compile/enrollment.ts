import type { Namespace } from '../kinds/namespace.ts'
import type { Pod } from '../kinds/pod.ts'
import type { MeshOptions } from './mesh-options.ts'
import { isFinished, podAddresses, podUid } from './workload.ts'

/** What a node agent is to do with one pod of its node. */
export interface WantedPod {
  /** The pod's uid in the workload API. */
  readonly uid: string
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
  readonly addresses: readonly string[]
  readonly wanted: 'captured' | 'released'
  readonly trustDomain: string
}

const MODE = 'istio.io/dataplane-mode'
const SIDECAR = 'sidecar.istio.io/status'
const EXCLUDED: ReadonlySet<string> = new Set(['kube-system'])

/**
 * Whether the mesh wants a pod (controlplane spec, section 8.1). Undefined for what an agent could never capture: no
 * node, no address, the node's own network, or finished.
 */
export function wantedPod(
  options: MeshOptions,
  pod: Pod,
  namespace: Namespace | undefined,
): WantedPod | undefined {
  const { metadata, spec } = pod
  const addresses = podAddresses(pod)
  if (!spec.nodeName || spec.hostNetwork || addresses.length === 0 || isFinished(pod)) {
    return undefined
  }
  return {
    uid: podUid(options, pod),
    namespace: metadata.namespace,
    name: metadata.name,
    serviceAccount: spec.serviceAccountName,
    addresses,
    wanted: isEnrolled(pod, namespace) ? 'captured' : 'released',
    trustDomain: options.trustDomain,
  }
}

function isEnrolled({ metadata }: Pod, namespace: Namespace | undefined): boolean {
  if (EXCLUDED.has(metadata.namespace) || Object.hasOwn(metadata.annotations, SIDECAR)) return false
  const own = metadata.labels[MODE]
  if (own === 'ambient') return true
  return own !== 'none' && namespace?.metadata.labels[MODE] === 'ambient'
}
