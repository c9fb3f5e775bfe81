import type { PolicySet } from '../authz/model.ts'
import { parseAddressResource } from './convert.ts'
import { type MeshDump, toMeshDump } from './dump.ts'
import type { Endpoint, Service, ServiceKey, Workload } from './model.ts'
import { PolicyIndex } from './policy-index.ts'
import { RefusedAddresses } from './refused-addresses.ts'
import { ServiceIndex } from './service-index.ts'
import { type LocalWorkload, WorkloadIndex } from './workload-index.ts'

/** A resource as it came: its name, and the encoded message. */
export interface Upsert {
  readonly name: string
  readonly body: Uint8Array
}

/** A resource that was refused, for the answer to its sender. What was there under its name stays. */
export interface Rejected {
  readonly name: string
  readonly reason: string
}

/** What one batch changed. */
export interface MeshChange {
  /** By uid. */
  readonly workloads: ReadonlySet<string>
  readonly services: ReadonlySet<ServiceKey>
  /** By resource name; also policies that became known as invalid. */
  readonly policies: ReadonlySet<string>
}

export interface MeshStoreOptions {
  /** Where mesh-wide policies live; matters only for policies that cannot be read. Default `istio-system`. */
  readonly rootNamespace?: string
}

const NO_ENDPOINTS: readonly Endpoint[] = []
const NOTHING: ReadonlySet<string> = new Set()

/** What is where in the mesh, as the last batches said. Every look-up sees whole batches only. */
export class MeshStore {
  readonly #workloads = new WorkloadIndex()
  readonly #services = new ServiceIndex()
  readonly #policies: PolicyIndex
  readonly #refused = new RefusedAddresses()
  readonly #endpoints = new Map<ServiceKey, readonly Endpoint[]>()
  readonly #listeners = new Set<(change: MeshChange) => void>()

  constructor(options: MeshStoreOptions = {}) {
    this.#policies = new PolicyIndex(options.rootNamespace ?? 'istio-system')
  }

  /** Applies `istio.workload.Address` resources, removals first. */
  applyAddresses(upserts: readonly Upsert[], removed: readonly string[]): Rejected[] {
    const workloads = new Set<string>()
    const services = new Set<ServiceKey>()
    const rejected: Rejected[] = []
    for (const name of removed) this.#removeAddress(name, workloads, services)
    for (const { name, body } of upserts) {
      this.#refused.remove(name)
      const result = parseAddressResource(name, body)
      switch (result.kind) {
        case 'rejected':
          rejected.push({ name, reason: result.errors.join('; ') })
          this.#refused.put(name, result.claims)
          break
        case 'workload':
          workloads.add(name)
          if (this.#services.byKey(name) !== undefined) this.#removeService(name, services)
          this.#forgetEndpoints(this.#workloads.put(result.workload))
          break
        case 'service':
          services.add(name)
          if (this.#workloads.byUid(name) !== undefined) this.#removeWorkload(name, workloads)
          this.#services.put(result.service)
          this.#endpoints.delete(name)
          break
      }
    }
    this.#announce({ workloads, services, policies: NOTHING })
    return rejected
  }

  /** Applies `istio.security.Authorization` resources, removals first. */
  applyPolicies(upserts: readonly Upsert[], removed: readonly string[]): Rejected[] {
    const policies = new Set<string>(removed)
    const rejected: Rejected[] = []
    for (const name of removed) this.#policies.remove(name)
    for (const { name, body } of upserts) {
      const errors = this.#policies.put(name, body)
      policies.add(name)
      if (errors !== undefined) rejected.push({ name, reason: errors.join('; ') })
    }
    this.#announce({ workloads: NOTHING, services: NOTHING, policies })
    return rejected
  }

  workloadByUid(uid: string): Workload | undefined {
    return this.#workloads.byUid(uid)
  }

  /** `address` is canonical text. Host-network workloads are not found by address. */
  workloadByAddress(network: string, address: string): Workload | undefined {
    return this.#workloads.byAddress(network, address)
  }

  /** The service that a client in `clientNamespace` means by this address. */
  serviceByAddress(network: string, address: string, clientNamespace: string): Service | undefined {
    return this.#services.byAddress(network, address, clientNamespace)
  }

  /** Whether a resource that was refused, and so is not here, claims the address. */
  isRefused(network: string, address: string): boolean {
    return this.#refused.has(network, address)
  }

  serviceByKey(key: ServiceKey): Service | undefined {
    return this.#services.byKey(key)
  }

  /** The service that a client in `clientNamespace` means by this name. */
  serviceByHostname(hostname: string, clientNamespace: string): Service | undefined {
    return this.#services.byHostname(hostname, clientNamespace)
  }

  /** The workloads that may serve: the healthy ones, or all if the service says so. */
  endpointsOf(service: Service): readonly Endpoint[] {
    const known = this.#endpoints.get(service.key)
    if (known !== undefined) return known
    const members = this.#workloads.membersOf(service.key)
    if (members === undefined) return NO_ENDPOINTS
    const all = service.loadBalancing.healthPolicy === 'ALLOW_ALL'
    const endpoints = [...members.values()].filter(
      ({ workload }) => all || workload.status === 'HEALTHY',
    )
    // An answer about a service that has left or changed since is not kept.
    if (this.#services.byKey(service.key) === service) this.#endpoints.set(service.key, endpoints)
    return endpoints
  }

  localWorkload(which: LocalWorkload): Workload | undefined {
    return this.#workloads.local(which)
  }

  /** The policies that apply to a workload; the same object until a policy changes. */
  policiesFor(workload: Workload): PolicySet {
    return this.#policies.of(workload)
  }

  /** Calls `listener` once after every batch that changed something. It must not throw. Returns how to stop. */
  onChange(listener: (change: MeshChange) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** The store's part of a `config_dump` (controlplane spec 9.1). */
  dump(): MeshDump {
    return toMeshDump({
      workloads: this.#workloads.all,
      services: this.#services.all,
      policies: this.#policies.all,
      memberships: this.#workloads.memberships,
    })
  }

  #removeAddress(name: string, workloads: Set<string>, services: Set<ServiceKey>): void {
    this.#refused.remove(name)
    if (this.#workloads.byUid(name) !== undefined) this.#removeWorkload(name, workloads)
    else if (this.#services.byKey(name) !== undefined) this.#removeService(name, services)
  }

  #removeWorkload(uid: string, changed: Set<string>): void {
    changed.add(uid)
    this.#forgetEndpoints(this.#workloads.remove(uid))
  }

  #removeService(key: ServiceKey, changed: Set<ServiceKey>): void {
    changed.add(key)
    this.#services.remove(key)
    this.#endpoints.delete(key)
  }

  #forgetEndpoints(services: ReadonlySet<ServiceKey>): void {
    for (const key of services) this.#endpoints.delete(key)
  }

  #announce(change: MeshChange): void {
    if (change.workloads.size + change.services.size + change.policies.size === 0) return
    for (const listener of this.#listeners) listener(change)
  }
}
