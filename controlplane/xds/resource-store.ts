import type { Resource, ResourceDelta } from '../compile/resource.ts'
import { NOWHERE, type Reach, ReachIndex } from './reach-index.ts'

/** One resource whose content is another now, or that came or went. */
export interface NameChange {
  readonly name: string
  /** The version it had; undefined if it was not there. */
  readonly previous: string | undefined
}

/** What a subscription sees of the resources of one type. */
export interface ResourceView {
  find(name: string): Resource | undefined
  all(): Iterable<Resource>
  /** The resources that an on-demand key stands for (controlplane spec, section 1.12), by name. */
  resolve(key: string): readonly string[]
  /** Who else may lead to a resource: its aliases, the services it belongs to, its node. */
  reach(name: string): Reach
  /** Workloads of a node, by name. */
  onNode(node: string): Iterable<string>
}

/** Called once per type and change, after it was applied. */
export type StoreListener = (typeUrl: string, changes: readonly NameChange[]) => void

/** The compiled resources that are served now. */
export class ResourceStore {
  readonly #collections = new Map<string, Collection>()
  readonly #listeners = new Set<StoreListener>()

  /** Applies a change; versions that are already there count as unchanged. */
  apply(delta: ResourceDelta): void {
    const changes = new Map<string, NameChange[]>()
    const note = (typeUrl: string, change: NameChange | undefined): void => {
      if (change === undefined) return
      const list = changes.get(typeUrl)
      if (list === undefined) changes.set(typeUrl, [change])
      else list.push(change)
    }
    for (const { typeUrl, name } of delta.removed) note(typeUrl, this.#of(typeUrl).remove(name))
    for (const resource of delta.changed)
      note(resource.typeUrl, this.#of(resource.typeUrl).put(resource))
    for (const [typeUrl, list] of changes) {
      for (const listener of this.#listeners) listener(typeUrl, list)
    }
  }

  /** A live view; of a type that nothing was compiled to it is empty. */
  view(typeUrl: string): ResourceView {
    return this.#collections.get(typeUrl) ?? this.#of(typeUrl)
  }

  /** Types that have, or had, resources. */
  types(): readonly string[] {
    return [...this.#collections.keys()]
  }

  onChange(listener: StoreListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  #of(typeUrl: string): Collection {
    const known = this.#collections.get(typeUrl)
    if (known !== undefined) return known
    const made = new Collection(typeUrl)
    this.#collections.set(typeUrl, made)
    return made
  }
}

/** What a type without resources looks like. */
export const NO_RESOURCES: ResourceView = {
  find: () => undefined,
  all: () => [],
  resolve: () => [],
  reach: () => NOWHERE,
  onNode: () => [],
}

class Collection implements ResourceView {
  readonly #typeUrl: string
  readonly #byName = new Map<string, Resource>()
  /** Made at the first question of an on-demand client; wildcard clients never need it. */
  #index: ReachIndex | undefined

  constructor(typeUrl: string) {
    this.#typeUrl = typeUrl
  }

  put(resource: Resource): NameChange | undefined {
    const before = this.#byName.get(resource.name)
    if (before?.version === resource.version) return undefined
    this.#byName.set(resource.name, resource)
    this.#index?.put(resource)
    return { name: resource.name, previous: before?.version }
  }

  remove(name: string): NameChange | undefined {
    const before = this.#byName.get(name)
    if (before === undefined) return undefined
    this.#byName.delete(name)
    this.#index?.remove(name)
    return { name, previous: before.version }
  }

  find(name: string): Resource | undefined {
    return this.#byName.get(name)
  }

  all(): Iterable<Resource> {
    return this.#byName.values()
  }

  resolve(key: string): readonly string[] {
    return this.#reachIndex().resolve(key)
  }

  reach(name: string): Reach {
    return this.#reachIndex().reach(name)
  }

  onNode(node: string): Iterable<string> {
    return this.#reachIndex().onNode(node)
  }

  #reachIndex(): ReachIndex {
    if (this.#index !== undefined) return this.#index
    this.#index = new ReachIndex(this.#typeUrl)
    for (const resource of this.#byName.values()) this.#index.put(resource)
    return this.#index
  }
}
