import { formatIpAddress, parseIpAddress } from '../../shared/runtime/ip-address.ts'
import type { Pod } from '../kinds/pod.ts'
import { keyOf, type MeshObject, refOf } from '../kinds/registry.ts'
import type { Service } from '../kinds/service.ts'
import type { ServiceEntry } from '../kinds/service-entry.ts'
import type { ObjectEvent } from '../source/events.ts'
import { bearingOf, dependentsOf, STATIC_UNIT, servedBy } from './dependents.ts'
import { type WantedPod, wantedPod } from './enrollment.ts'
import { HostTable } from './hosts.ts'
import { type MeshContext, type MeshOptions, meshContextOf } from './mesh-options.ts'
import type { PolicyReport } from './remark.ts'
import type { Resource, ResourceDelta } from './resource.ts'
import { ResourceTable } from './resource-table.ts'
import { claimsOf, ownAddressesOf } from './service-view.ts'
import { compileUnit } from './units.ts'
import { VipAllocator, type VipAssignment } from './vips.ts'
import { isFinished, podUid } from './workload.ts'
import { unitOf, World } from './world.ts'

export interface CompileResult {
  readonly delta: ResourceDelta
  /** Nodes whose wanted pods changed. */
  readonly nodesChanged: ReadonlySet<string>
  /** What the authors of the objects compiled now should know. */
  readonly reports: readonly PolicyReport[]
  /** Pods that are no longer captured because they are gone. */
  readonly capturedCleared: readonly string[]
}

export interface CompilerState {
  /** Uids of pods that were captured. Those that never appear are named by `dropUnknownCaptured`. */
  readonly captured?: Iterable<string>
  readonly vips?: Iterable<VipAssignment>
}

const NETWORK_LABEL = 'topology.istio.io/network'

/**
 * Objects in, resources out. Every object has a unit of resources compiled from it; a change compiles anew its own
 * unit and those that look at it, and says which resources have other content for it. The result depends only on
 * the objects there are, on the captured pods, and on the addresses once given.
 */
export class Compiler {
  readonly #options: MeshOptions
  readonly #world: World
  readonly #hosts = new HostTable()
  readonly #vips: VipAllocator
  readonly #captured: Set<string>
  readonly #table = new ResourceTable()
  readonly #reports = new Map<string, readonly PolicyReport[]>()
  #mesh: MeshContext
  #recomputed = 0

  constructor(options: MeshOptions, state: CompilerState = {}) {
    this.#options = options
    this.#world = new World(options.rootNamespace)
    this.#vips = new VipAllocator(options.vipRangeV4, options.vipRangeV6, state.vips)
    this.#captured = new Set(state.captured)
    this.#mesh = meshContextOf(options, options.network)
  }

  apply(events: readonly ObjectEvent[]): CompileResult {
    const change = new Change()
    for (const event of events) {
      const unit = keyOf(event.type === 'put' ? refOf(event.object) : event.ref)
      this.#replace(unit, event.type === 'put' ? event.object : undefined, change)
    }
    return this.#compile(change)
  }

  /** A node agent says that a pod is captured, or let go. */
  setCaptured(uid: string, captured: boolean): CompileResult {
    const change = new Change()
    if (captured) this.#captured.add(uid)
    else this.#captured.delete(uid)
    const pod = this.#podOf(uid)
    if (pod !== undefined) change.dirty.add(keyOf(refOf(pod)))
    return this.#compile(change)
  }

  captured(): ReadonlySet<string> {
    return this.#captured
  }

  /** Forgets captured pods that do not exist, and names them. To be called after the first objects are in. */
  dropUnknownCaptured(): readonly string[] {
    const unknown = [...this.#captured].filter((uid) => this.#podOf(uid) === undefined)
    for (const uid of unknown) this.#captured.delete(uid)
    return unknown
  }

  /** Live: it shows later changes too. */
  resources(typeUrl: string): ReadonlyMap<string, Resource> {
    return this.#table.ofType(typeUrl)
  }

  /** What the agent of a node is to do, by uid. */
  wantedPods(node: string): readonly WantedPod[] {
    const wanted = this.#world.podsOfNode(node).flatMap((pod) => this.#wanted(pod) ?? [])
    return wanted.sort((a, b) => (a.uid < b.uid ? -1 : 1))
  }

  /** Whether a pod that is not finished runs on the node under this service account. */
  isLocalIdentity(
    node: string,
    identity: { readonly namespace: string; readonly serviceAccount: string },
  ): boolean {
    if (node === '') return false
    return this.#world
      .podsOfNode(node)
      .some(
        (pod) =>
          pod.metadata.namespace === identity.namespace &&
          pod.spec.serviceAccountName === identity.serviceAccount &&
          !isFinished(pod),
      )
  }

  /** Addresses given to services; to be kept, so that a restart gives the same. */
  vipAssignments(): readonly VipAssignment[] {
    return this.#vips.assignments()
  }

  /** All reports that hold now. */
  reports(): readonly PolicyReport[] {
    return [...this.#reports.values()].flat()
  }

  /** `recomputed` counts units compiled since the start. */
  stats(): { readonly recomputed: number } {
    return { recomputed: this.#recomputed }
  }

  #replace(unit: string, next: MeshObject | undefined, change: Change): void {
    const before = this.#world.object(unit)
    if (before === undefined && next === undefined) return
    change.dirty.add(unit)
    const wantedBefore = this.#wantedOf(before, next)
    const spreads =
      (before === undefined ? undefined : bearingOf(before)) !==
      (next === undefined ? undefined : bearingOf(next))
    if (before !== undefined) {
      if (spreads) change.mark(dependentsOf(this.#world, before))
      this.#world.remove(before)
    }
    if (next !== undefined) {
      this.#world.add(next)
      if (spreads) change.mark(dependentsOf(this.#world, next))
    }
    this.#replaceHosts(unit, before, next, change)
    this.#forgetCaptured(before, next, change)
    if (unit === unitOf('Namespace', '', this.#options.rootNamespace)) this.#setNetwork(change)
    const wantedAfter = this.#wantedOf(next, before)
    for (const node of [...wantedBefore.keys(), ...wantedAfter.keys()]) {
      if (wantedBefore.get(node) !== wantedAfter.get(node)) change.nodes.add(node)
    }
  }

  #compile(change: Change): CompileResult {
    const reports: PolicyReport[] = []
    for (const unit of change.dirty) {
      this.#recomputed++
      const { resources, remarks } = compileUnit(
        {
          mesh: this.#mesh,
          world: this.#world,
          hosts: this.#hosts,
          vips: this.#vips,
          captured: this.#captured,
        },
        unit,
      )
      this.#table.stage(unit, resources)
      const object = this.#world.object(unit)
      if (object === undefined || remarks.length === 0) {
        this.#reports.delete(unit)
        continue
      }
      const own = remarks.map((remark) => ({ ...remark, object: refOf(object) }))
      this.#reports.set(unit, own)
      reports.push(...own)
    }
    return {
      delta: this.#table.commit(),
      nodesChanged: change.nodes,
      reports,
      capturedCleared: change.cleared,
    }
  }

  #replaceHosts(
    unit: string,
    before: MeshObject | undefined,
    next: MeshObject | undefined,
    change: Change,
  ): void {
    const old = isService(before) ? before : undefined
    const now = isService(next) ? next : undefined
    if (old === undefined && now === undefined) return
    const { domain } = this.#options
    const oldClaims = old === undefined ? [] : claimsOf(unit, old, domain)
    const nowClaims = now === undefined ? [] : claimsOf(unit, now, domain)
    for (const other of this.#hosts.replace(unit, oldClaims, nowClaims))
      this.#markService(other, change)
    for (const address of old === undefined ? [] : canonical(ownAddressesOf(old))) {
      this.#vips.unreserve(address)
    }
    for (const address of now === undefined ? [] : canonical(ownAddressesOf(now))) {
      const displaced = this.#vips.reserve(address)
      if (displaced !== undefined) this.#settleVip(displaced, change)
    }
    for (const { namespace, hostname } of [...oldClaims, ...nowClaims]) {
      this.#settleVip(`${namespace}/${hostname}`, change)
    }
  }

  /** Gives the service what its present owner asks for. */
  #settleVip(service: string, change: Change): void {
    const slash = service.indexOf('/')
    const owner = this.#hosts.winner(service.slice(0, slash), service.slice(slash + 1))
    if (owner === undefined) {
      this.#vips.release(service)
      return
    }
    this.#vips.ensure(service, owner.vipFamilies)
    change.dirty.add(owner.unit)
  }

  /** The standing of another object changed: it and its workloads name other services. */
  #markService(unit: string, change: Change): void {
    change.dirty.add(unit)
    const object = this.#world.object(unit)
    if (isService(object)) change.mark(servedBy(this.#world, object))
  }

  /** Capture belongs to one pod: another one of the same name starts without. */
  #forgetCaptured(
    before: MeshObject | undefined,
    next: MeshObject | undefined,
    change: Change,
  ): void {
    if (before?.kind !== 'Pod' || (next?.kind === 'Pod' && isSamePod(before, next))) return
    const uid = podUid(this.#mesh, before)
    if (!this.#captured.delete(uid)) return
    change.cleared.push(uid)
    if (next?.kind === 'Pod' && next.spec.nodeName) change.nodes.add(next.spec.nodeName)
  }

  #setNetwork(change: Change): void {
    const root = this.#world.find('Namespace', '', this.#options.rootNamespace)
    const network = root?.metadata.labels[NETWORK_LABEL] || this.#options.network
    if (network === this.#mesh.network) return
    this.#mesh = meshContextOf(this.#options, network)
    change.mark(this.#world.units())
    change.dirty.add(STATIC_UNIT)
  }

  /**
   * What is wanted of the pods that an object decides about, as text by node. A namespace decides about its pods also
   * by not being there: `other` is its version at the other end of a change.
   */
  #wantedOf(now: MeshObject | undefined, other: MeshObject | undefined): Map<string, string> {
    const object = now ?? (other?.kind === 'Namespace' ? other : undefined)
    const pods =
      object?.kind === 'Pod'
        ? [object]
        : object?.kind === 'Namespace'
          ? this.#world.podsOfNamespace(object.metadata.name)
          : []
    const texts = new Map<string, string>()
    for (const pod of pods) {
      const node = pod.spec.nodeName ?? ''
      const wanted = this.#wanted(pod)
      if (wanted !== undefined) texts.set(node, (texts.get(node) ?? '') + JSON.stringify(wanted))
    }
    return texts
  }

  #wanted(pod: Pod): WantedPod | undefined {
    const namespace = this.#world.find('Namespace', '', pod.metadata.namespace)
    return wantedPod(this.#options, pod, namespace)
  }

  #podOf(uid: string): Pod | undefined {
    const prefix = `${this.#options.clusterId}//Pod/`
    if (!uid.startsWith(prefix)) return undefined
    const [namespace = '', name = ''] = uid.slice(prefix.length).split('/')
    return this.#world.find('Pod', namespace, name)
  }
}

/** What one batch touched. */
class Change {
  readonly dirty = new Set<string>()
  readonly nodes = new Set<string>()
  readonly cleared: string[] = []

  mark(units: Iterable<string>): void {
    for (const unit of units) this.dirty.add(unit)
  }
}

function isService(object: MeshObject | undefined): object is Service | ServiceEntry {
  return object?.kind === 'Service' || object?.kind === 'ServiceEntry'
}

function isSamePod(a: Pod, b: Pod): boolean {
  const same = (left: string | undefined, right: string | undefined): boolean =>
    left === undefined || right === undefined || left === right
  return same(a.metadata.uid, b.metadata.uid) && same(a.spec.nodeName, b.spec.nodeName)
}

function canonical(addresses: readonly string[]): string[] {
  return addresses.flatMap((address) => {
    const bytes = parseIpAddress(address)
    return bytes === undefined ? [] : (formatIpAddress(bytes) ?? [])
  })
}
