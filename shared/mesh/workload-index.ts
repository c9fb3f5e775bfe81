import type { Endpoint, PortMap, ServiceKey, Workload } from './model.ts'

/** Who a captured pod is: by resource name, or by what the node knows about it. */
export type LocalWorkload =
  | { readonly uid: string }
  | { readonly namespace: string; readonly name: string; readonly serviceAccount: string }

/** The workloads of the mesh by every key that is asked for. All look-ups are O(1). */
export class WorkloadIndex {
  readonly #byUid = new Map<string, Workload>()
  readonly #byAddress = new Map<string, readonly Workload[]>()
  readonly #byName = new Map<string, readonly Workload[]>()
  /** Members of services by uid, also of services that have not arrived. */
  readonly #members = new Map<ServiceKey, Map<string, Endpoint>>()

  get all(): ReadonlyMap<string, Workload> {
    return this.#byUid
  }

  byUid(uid: string): Workload | undefined {
    return this.#byUid.get(uid)
  }

  /** The best claim, if several workloads say that they have this address. */
  byAddress(network: string, address: string): Workload | undefined {
    return this.#byAddress.get(`${network}/${address}`)?.[0]
  }

  local(which: LocalWorkload): Workload | undefined {
    if ('uid' in which) return this.#byUid.get(which.uid)
    const named = this.#byName.get(`${which.namespace}/${which.name}`)
    return named?.find((workload) => workload.serviceAccount === which.serviceAccount)
  }

  membersOf(service: ServiceKey): ReadonlyMap<string, Endpoint> | undefined {
    return this.#members.get(service)
  }

  get memberships(): ReadonlyMap<ServiceKey, ReadonlyMap<string, Endpoint>> {
    return this.#members
  }

  /** The services whose endpoints this changed. */
  put(workload: Workload): Set<ServiceKey> {
    const touched = this.remove(workload.uid)
    this.#byUid.set(workload.uid, workload)
    for (const key of addressKeysOf(workload)) claim(this.#byAddress, key, workload)
    claim(this.#byName, `${workload.namespace}/${workload.name}`, workload)
    for (const [service, ports] of workload.services) {
      touched.add(service)
      this.#join(service, workload, ports)
    }
    return touched
  }

  /** The services whose endpoints this changed. */
  remove(uid: string): Set<ServiceKey> {
    const workload = this.#byUid.get(uid)
    if (workload === undefined) return new Set()
    this.#byUid.delete(uid)
    for (const key of addressKeysOf(workload)) release(this.#byAddress, key, workload)
    release(this.#byName, `${workload.namespace}/${workload.name}`, workload)
    for (const service of workload.services.keys()) {
      const members = this.#members.get(service)
      members?.delete(uid)
      if (members?.size === 0) this.#members.delete(service)
    }
    return new Set(workload.services.keys())
  }

  #join(service: ServiceKey, workload: Workload, ports: PortMap): void {
    let members = this.#members.get(service)
    if (members === undefined) this.#members.set(service, (members = new Map()))
    members.set(workload.uid, { workload, ports })
  }
}

/** A host-network workload shares the address of its node, so the address does not mean the workload. */
const addressKeysOf = (workload: Workload): string[] =>
  workload.networkMode === 'HOST_NETWORK'
    ? []
    : workload.addresses.map((address) => `${workload.network}/${address}`)

/** Whose claim to an address counts (ztunnel spec 2.2, last point): a pod's, then one in the mesh. */
function claimRank(workload: Workload): number {
  const pod = workload.uid.includes('//Pod/') ? 2 : 0
  return pod + (workload.tunnelProtocol === 'HBONE' ? 1 : 0)
}

/** Equal ranks are ordered by uid, so that every store with the same content gives the same answer. */
function compareClaims(a: Workload, b: Workload): number {
  return claimRank(b) - claimRank(a) || (a.uid < b.uid ? -1 : 1)
}

function claim(index: Map<string, readonly Workload[]>, key: string, workload: Workload): void {
  const others = index.get(key)
  index.set(key, others === undefined ? [workload] : [...others, workload].sort(compareClaims))
}

function release(index: Map<string, readonly Workload[]>, key: string, workload: Workload): void {
  const left = index.get(key)?.filter((one) => one.uid !== workload.uid) ?? []
  if (left.length === 0) index.delete(key)
  else index.set(key, left)
}
