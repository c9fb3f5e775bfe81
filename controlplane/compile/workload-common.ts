import { type PortList, Workload, WorkloadType } from '../../shared/proto/generated/workload.ts'
import type { MeshContext } from './mesh-options.ts'

type Labels = Readonly<Record<string, string>>

/** A workload's place in the mesh, as far as other objects decide it. */
export interface Membership {
  /** By `namespace/hostname`. */
  readonly services: Record<string, PortList>
  /** Names of the policies that select it, in their final order. */
  readonly policies: readonly string[]
}

const EMPTY = Workload.fromPartial({})

/** What all workloads have in common. */
export function workloadOf(
  mesh: MeshContext,
  fields: Pick<Workload, 'uid' | 'name' | 'namespace'> & Partial<Workload>,
): Workload {
  return {
    ...EMPTY,
    network: mesh.network,
    clusterId: mesh.clusterId,
    trustDomain: mesh.wireTrustDomain,
    ...fields,
  }
}

/** How the workload is called in telemetry (controlplane spec, section 1.2). */
export function telemetryNames(
  labels: Labels,
  workloadName: string,
): Pick<Workload, 'workloadName' | 'workloadType' | 'canonicalName' | 'canonicalRevision'> {
  const first = (...keys: string[]): string | undefined =>
    keys.map((key) => labels[key]).find((value) => value !== undefined && value !== '')
  return {
    workloadName,
    workloadType: WorkloadType.POD,
    canonicalName:
      first('service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app') ?? workloadName,
    canonicalRevision:
      first('service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version') ??
      'latest',
  }
}

/** The application listens for HBONE itself. */
export const speaksHbone = (labels: Labels): boolean =>
  (labels['networking.istio.io/tunnel'] ?? '').split(',').includes('http')

/** Undefined if nothing of it is known. */
export function localityOf(
  region: string | undefined,
  zone: string | undefined,
  subzone: string | undefined,
): Workload['locality'] {
  if (!region && !zone && !subzone) return undefined
  return { region: region ?? '', zone: zone ?? '', subzone: subzone ?? '' }
}
