import type { AuthorizationPolicy } from '../kinds/authorization-policy.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import type { PeerAuthentication } from '../kinds/peer-authentication.ts'
import type { Pod } from '../kinds/pod.ts'
import { keyOf, type MeshObject, type ObjectKind, refOf } from '../kinds/registry.ts'
import type { Service } from '../kinds/service.ts'
import type { ServiceEntry } from '../kinds/service-entry.ts'
import { compareAge } from './age.ts'
import { policySelectorOf } from './authorization.ts'
import { podOf, sliceServiceOf } from './endpoint-slice.ts'
import { LabelIndex, SelectorIndex } from './label-index.ts'
import { MultiMap } from './multi-map.ts'
import {
  convertedName,
  isWorkloadLevel,
  STATIC_STRICT,
  type Strictness,
  strictnessOf,
} from './peer-authentication.ts'
import { memberSelectorOf } from './service-view.ts'
import { entryLabels } from './workload-entry.ts'

/** Objects are known by `Kind/namespace/name`; what is compiled from one object is called its unit. */
export const unitOf = (kind: ObjectKind, namespace: string, name: string): string =>
  keyOf({ kind, namespace, name })

/** All objects, and indexes that tell which belong together without looking at all of them. */
export class World {
  readonly rootNamespace: string
  readonly #objects = new Map<string, MeshObject>()
  /** Pods and WorkloadEntries: what services select. */
  readonly #members = new LabelIndex()
  /** The same and ServiceEntries: what policies select. */
  readonly #policed = new LabelIndex()
  readonly #memberSelectors = new SelectorIndex()
  readonly #policySelectors = new SelectorIndex()
  readonly #peerSelectors = new SelectorIndex()
  readonly #peersByNamespace = new MultiMap()
  readonly #podsByNode = new MultiMap()
  readonly #podsByNamespace = new MultiMap()
  readonly #servicesByNamespace = new MultiMap()
  readonly #slicesByService = new MultiMap()
  readonly #slicesByPod = new MultiMap()

  constructor(rootNamespace: string) {
    this.rootNamespace = rootNamespace
  }

  units(): Iterable<string> {
    return this.#objects.keys()
  }

  object(unit: string): MeshObject | undefined {
    return this.#objects.get(unit)
  }

  find<K extends ObjectKind>(
    kind: K,
    namespace: string,
    name: string,
  ): Extract<MeshObject, { kind: K }> | undefined {
    const object = this.#objects.get(unitOf(kind, namespace, name))
    return object !== undefined && isKind(object, kind) ? object : undefined
  }

  add(object: MeshObject): void {
    const unit = keyOf(refOf(object))
    this.#objects.set(unit, object)
    this.#index(unit, object, 'add')
  }

  remove(object: MeshObject): void {
    const unit = keyOf(refOf(object))
    this.#objects.delete(unit)
    this.#index(unit, object, 'remove')
  }

  podsOfNode(node: string): Pod[] {
    return this.#pods(this.#podsByNode.of(node))
  }

  podsOfNamespace(namespace: string): Pod[] {
    return this.#pods(this.#podsByNamespace.of(namespace))
  }

  servicesOfNamespace(namespace: string): Iterable<string> {
    return this.#servicesByNamespace.of(namespace)
  }

  /** Pods and WorkloadEntries that a service selects. */
  membersOf(service: Service | ServiceEntry): readonly string[] {
    const selector = memberSelectorOf(service)
    return selector === undefined
      ? []
      : this.#members.selected(service.metadata.namespace, selector)
  }

  slicesOf(service: Service): EndpointSlice[] {
    const { namespace, name } = service.metadata
    return this.#slices(this.#slicesByService.of(`${namespace}/${name}`))
  }

  /** The services that select these labels, and those whose slices name the pod. */
  servicesOf(
    namespace: string,
    labels: Readonly<Record<string, string>>,
    pod?: Pod,
  ): (Service | ServiceEntry)[] {
    const units = new Set(this.#memberSelectors.selecting(namespace, labels))
    for (const slice of pod === undefined ? [] : this.#slicesNaming(pod)) {
      const service = this.serviceOfSlice(slice)
      if (service === undefined || Object.keys(service.spec.selector).length > 0) continue
      units.add(keyOf(refOf(service)))
    }
    return [...units].flatMap((unit) => {
      const object = this.#objects.get(unit)
      return object?.kind === 'Service' || object?.kind === 'ServiceEntry' ? [object] : []
    })
  }

  serviceOfSlice(slice: EndpointSlice): Service | undefined {
    const key = sliceServiceOf(slice)
    const object = key === undefined ? undefined : this.#objects.get(`Service/${key}`)
    return object?.kind === 'Service' ? object : undefined
  }

  /** What a policy selects; of the root namespace it does so everywhere. */
  policedBy(policy: AuthorizationPolicy): string[] {
    const selector = policySelectorOf(policy)
    if (selector === undefined) return []
    const { namespace } = policy.metadata
    const namespaces = namespace === this.rootNamespace ? this.#policed.namespaces() : [namespace]
    return [...namespaces].flatMap((one) => this.#policed.selected(one, selector))
  }

  /** The units whose policies a PeerAuthentication may decide, other PeerAuthentications among them. */
  *underPeerPolicy(policy: PeerAuthentication): Iterable<string> {
    const { namespace } = policy.metadata
    const isRoot = namespace === this.rootNamespace
    if (isWorkloadLevel(policy)) {
      if (isRoot) return
      yield* this.#policed.selected(namespace, policy.spec.selector?.matchLabels ?? {})
    } else if (isRoot) {
      for (const one of this.#policed.namespaces()) yield* this.#policed.inNamespace(one)
      yield* this.#peersByNamespace.all()
    } else {
      yield* this.#policed.inNamespace(namespace)
      yield* this.#peersByNamespace.of(namespace)
    }
  }

  hasPeerPolicies(): boolean {
    for (const _ of this.#peersByNamespace.all()) return true
    return false
  }

  /** The names of the policies that a workload must refer to, in order (controlplane spec, section 1.5). */
  policiesOf(namespace: string, labels: Readonly<Record<string, string>>): string[] {
    const names = this.#policySelectors.selecting(namespace, labels)
    if (namespace !== this.rootNamespace) {
      names.push(...this.#policySelectors.selecting(this.rootNamespace, labels))
    }
    names.sort()
    const workload =
      namespace === this.rootNamespace
        ? undefined
        : this.#oldestPeer(this.#peerSelectors.selecting(namespace, labels), () => true)
    const strictness = this.strictness(namespace, workload)
    if (strictness.kind === 'strict') names.push(`${this.rootNamespace}/${STATIC_STRICT}`)
    if (strictness.kind === 'ports') names.push(`${namespace}/${convertedName(strictness.policy)}`)
    return names
  }

  /** What holds for a workload of the namespace that this policy, if any, selects. */
  strictness(namespace: string, workload: PeerAuthentication | undefined): Strictness {
    const levelOf = (one: string): PeerAuthentication | undefined =>
      this.#oldestPeer(this.#peersByNamespace.of(one), (policy) => !isWorkloadLevel(policy))
    const mesh = levelOf(this.rootNamespace)
    const isRoot = namespace === this.rootNamespace
    return strictnessOf({ workload, namespace: isRoot ? undefined : levelOf(namespace), mesh })
  }

  #oldestPeer(
    units: Iterable<string>,
    isMeant: (policy: PeerAuthentication) => boolean,
  ): PeerAuthentication | undefined {
    const policies: PeerAuthentication[] = []
    for (const unit of units) {
      const object = this.#objects.get(unit)
      if (object?.kind === 'PeerAuthentication' && isMeant(object)) policies.push(object)
    }
    return policies.sort((a, b) => compareAge(a.metadata, b.metadata))[0]
  }

  #pods(units: Iterable<string>): Pod[] {
    return [...units].flatMap((unit) => {
      const object = this.#objects.get(unit)
      return object?.kind === 'Pod' ? [object] : []
    })
  }

  #slices(units: Iterable<string>): EndpointSlice[] {
    return [...units].flatMap((unit) => {
      const object = this.#objects.get(unit)
      return object?.kind === 'EndpointSlice' ? [object] : []
    })
  }

  #slicesNaming({ metadata }: Pod): EndpointSlice[] {
    const key = `${metadata.namespace}/${metadata.name}`
    return this.#slices(this.#slicesByPod.of(key)).filter((slice) =>
      slice.endpoints.some((endpoint) => {
        if (podOf(slice, endpoint) !== key) return false
        const uid = endpoint.targetRef?.uid
        return uid === undefined || metadata.uid === undefined || uid === metadata.uid
      }),
    )
  }

  #index(unit: string, object: MeshObject, change: 'add' | 'remove'): void {
    const { namespace } = object.metadata
    switch (object.kind) {
      case 'Pod':
        this.#members[change](namespace, object.metadata.labels, unit)
        this.#policed[change](namespace, object.metadata.labels, unit)
        this.#podsByNamespace[change](namespace, unit)
        this.#podsByNode[change](object.spec.nodeName ?? '', unit)
        break
      case 'WorkloadEntry': {
        const labels = entryLabels(object)
        this.#members[change](namespace, labels, unit)
        this.#policed[change](namespace, labels, unit)
        break
      }
      case 'ServiceEntry':
        this.#policed[change](namespace, object.metadata.labels, unit)
        this.#indexSelector(unit, object, change)
        break
      case 'Service':
        this.#servicesByNamespace[change](namespace, unit)
        this.#indexSelector(unit, object, change)
        break
      case 'EndpointSlice':
        this.#indexSlice(unit, object, change)
        break
      case 'AuthorizationPolicy': {
        const selector = policySelectorOf(object)
        const name = `${namespace}/${object.metadata.name}`
        if (selector !== undefined) this.#policySelectors[change](namespace, selector, name)
        break
      }
      case 'PeerAuthentication':
        this.#peersByNamespace[change](namespace, unit)
        if (!isWorkloadLevel(object)) break
        this.#peerSelectors[change](namespace, object.spec.selector?.matchLabels ?? {}, unit)
        break
      case 'Namespace':
      case 'Node':
      case 'ServiceAccount':
        break
    }
  }

  #indexSelector(unit: string, object: Service | ServiceEntry, change: 'add' | 'remove'): void {
    const selector = memberSelectorOf(object)
    if (selector === undefined) return
    this.#memberSelectors[change](object.metadata.namespace, selector, unit)
  }

  #indexSlice(unit: string, slice: EndpointSlice, change: 'add' | 'remove'): void {
    const service = sliceServiceOf(slice)
    if (service !== undefined) this.#slicesByService[change](service, unit)
    for (const endpoint of slice.endpoints) {
      const pod = podOf(slice, endpoint)
      if (pod !== undefined) this.#slicesByPod[change](pod, unit)
    }
  }
}

function isKind<K extends ObjectKind>(
  object: MeshObject,
  kind: K,
): object is Extract<MeshObject, { kind: K }> {
  return object.kind === kind
}
