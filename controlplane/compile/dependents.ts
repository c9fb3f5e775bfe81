import { keyOf, type MeshObject, refOf } from '../kinds/registry.ts'
import type { Service } from '../kinds/service.ts'
import type { ServiceEntry } from '../kinds/service-entry.ts'
import { policySelectorOf } from './authorization.ts'
import { podOf } from './endpoint-slice.ts'
import { TRAFFIC_DISTRIBUTION } from './service.ts'
import { memberSelectorOf, viewsOf } from './service-view.ts'
import { nodeLocality } from './workload.ts'
import { unitOf, type World } from './world.ts'

/** The unit of the policy that denies plaintext; it belongs to no object. */
export const STATIC_UNIT = 'static-strict'

/**
 * What else an object bears on: two versions of it with equal text here mean the same to all other units. Undefined for
 * objects that no other unit looks at.
 */
export function bearingOf(object: MeshObject): string | undefined {
  switch (object.kind) {
    case 'Node':
      return JSON.stringify(nodeLocality(object) ?? null)
    case 'Namespace':
      return JSON.stringify(object.metadata.annotations[TRAFFIC_DISTRIBUTION] ?? null)
    case 'Service':
    case 'ServiceEntry':
      return JSON.stringify([memberSelectorOf(object) ?? null, viewsOf(object, '')])
    case 'EndpointSlice':
      return JSON.stringify([object.metadata.labels, object.endpoints])
    case 'AuthorizationPolicy':
      return JSON.stringify(policySelectorOf(object) ?? null)
    case 'PeerAuthentication':
      return JSON.stringify([object.spec, object.metadata.creationTimestamp ?? null])
    case 'Pod':
    case 'WorkloadEntry':
    case 'ServiceAccount':
      return undefined
  }
}

/** The units, besides its own, that an object bears on in the world as it is. */
export function* dependentsOf(world: World, object: MeshObject): Iterable<string> {
  const { namespace, name } = object.metadata
  switch (object.kind) {
    case 'Node':
      for (const pod of world.podsOfNode(name)) yield keyOf(refOf(pod))
      break
    case 'Namespace':
      yield* world.servicesOfNamespace(name)
      break
    case 'Service':
    case 'ServiceEntry':
      yield* servedBy(world, object)
      break
    case 'EndpointSlice':
      for (const endpoint of object.endpoints) {
        const pod = podOf(object, endpoint)
        if (pod !== undefined) yield `Pod/${pod}`
      }
      break
    case 'AuthorizationPolicy':
      yield* world.policedBy(object)
      break
    case 'PeerAuthentication':
      yield STATIC_UNIT
      yield unitOf('PeerAuthentication', namespace, name)
      yield* world.underPeerPolicy(object)
      break
    case 'Pod':
    case 'WorkloadEntry':
    case 'ServiceAccount':
      break
  }
}

/** The units whose workloads name the service. */
export function* servedBy(world: World, service: Service | ServiceEntry): Iterable<string> {
  yield* world.membersOf(service)
  if (service.kind !== 'Service') return
  for (const slice of world.slicesOf(service)) {
    yield keyOf(refOf(slice))
    yield* dependentsOf(world, slice)
  }
}
