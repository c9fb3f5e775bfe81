import { Address } from '../../shared/proto/generated/workload.ts'
import { ADDRESS_TYPE, type Resource } from '../compile/resource.ts'

/** By what else than its name a resource is reached. */
export interface Reach {
  readonly aliases: readonly string[]
  /** Services that a workload belongs to. */
  readonly services: readonly string[]
  readonly node: string
}

export const NOWHERE: Reach = { aliases: [], services: [], node: '' }

interface Entry extends Reach {
  readonly isService: boolean
}

/** By which keys the resources of one type are found, for on-demand clients. */
export class ReachIndex {
  readonly #typeUrl: string
  readonly #entries = new Map<string, Entry>()
  readonly #byAlias = new Map<string, Set<string>>()
  readonly #byService = new Map<string, Set<string>>()
  readonly #byNode = new Map<string, Set<string>>()

  constructor(typeUrl: string) {
    this.#typeUrl = typeUrl
  }

  put(resource: Resource): void {
    this.remove(resource.name)
    const entry = this.#entryOf(resource)
    this.#entries.set(resource.name, entry)
    for (const alias of entry.aliases) add(this.#byAlias, alias, resource.name)
    for (const service of entry.services) add(this.#byService, service, resource.name)
    if (entry.node !== '') add(this.#byNode, entry.node, resource.name)
  }

  remove(name: string): void {
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    this.#entries.delete(name)
    for (const alias of entry.aliases) drop(this.#byAlias, alias, name)
    for (const service of entry.services) drop(this.#byService, service, name)
    drop(this.#byNode, entry.node, name)
  }

  /** A name, or an alias: of workloads first, else of services. A service brings its workloads. */
  resolve(key: string): readonly string[] {
    const exact = this.#entries.get(key)
    if (exact !== undefined) return this.#withMembers(key, exact)
    const names = [...(this.#byAlias.get(key) ?? [])]
    const workloads = names.filter((name) => this.#entries.get(name)?.isService === false)
    if (workloads.length > 0) return workloads
    return names.flatMap((name) => {
      const entry = this.#entries.get(name)
      return entry === undefined ? [] : this.#withMembers(name, entry)
    })
  }

  reach(name: string): Reach {
    return this.#entries.get(name) ?? NOWHERE
  }

  /** Workloads that run on a node. */
  onNode(node: string): Iterable<string> {
    return this.#byNode.get(node) ?? []
  }

  #withMembers(name: string, entry: Entry): readonly string[] {
    return entry.isService ? [name, ...(this.#byService.get(name) ?? [])] : [name]
  }

  #entryOf({ aliases, body }: Resource): Entry {
    if (this.#typeUrl !== ADDRESS_TYPE) return { ...NOWHERE, aliases, isService: false }
    const { type } = Address.decode(body)
    if (type?.$case !== 'workload') return { ...NOWHERE, aliases, isService: true }
    const { services, node } = type.value
    return { aliases, services: Object.keys(services), node, isService: false }
  }
}

function add(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key)
  if (names === undefined) index.set(key, new Set([name]))
  else names.add(name)
}

function drop(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key)
  if (names === undefined) return
  names.delete(name)
  if (names.size === 0) index.delete(key)
}
