import { type MeshObject, type ObjectRef, parseObject } from '../kinds/registry.ts'
import type { ObjectEvent } from '../source/events.ts'

/** An object as people write it; throws if it is invalid. */
export function objectOf(
  kind: string,
  name: string,
  fields: Readonly<Record<string, unknown>> = {},
): MeshObject {
  const { labels, annotations, namespace = 'shop', created, uid, ...rest } = fields
  const metadata = { name, namespace, labels, annotations, uid, creationTimestamp: created }
  const parsed = parseObject({ apiVersion: API_VERSIONS[kind] ?? 'v1', kind, metadata, ...rest })
  if (parsed.outcome === 'object') return parsed.object
  throw new Error(JSON.stringify(parsed))
}

export const put = (...args: Parameters<typeof objectOf>): ObjectEvent => ({
  type: 'put',
  object: objectOf(...args),
})

export const remove = (kind: ObjectRef['kind'], name: string, namespace = 'shop'): ObjectEvent => ({
  type: 'delete',
  ref: { kind, namespace: kind === 'Namespace' || kind === 'Node' ? '' : namespace, name },
})

/** The fields of a running pod. */
export const podFields = (
  ip: string,
  node: string,
  labels: Readonly<Record<string, string>> = {},
): Readonly<Record<string, unknown>> => ({
  labels,
  spec: { nodeName: node },
  status: { phase: 'Running', podIP: ip },
})

const API_VERSIONS: Readonly<Record<string, string>> = {
  EndpointSlice: 'discovery.k8s.io/v1',
  ServiceEntry: 'networking.istio.io/v1',
  WorkloadEntry: 'networking.istio.io/v1',
  AuthorizationPolicy: 'security.istio.io/v1',
  PeerAuthentication: 'security.istio.io/v1',
}
