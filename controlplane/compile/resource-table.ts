import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type Resource, type ResourceDelta } from './resource.ts'

/** The compiled resources of all units. Units are staged one by one; `commit` shows their changes at once. */
export class ResourceTable {
  readonly #types = new Map<string, Map<string, Resource>>([
    [ADDRESS_TYPE, new Map()],
    [AUTHORIZATION_TYPE, new Map()],
  ])
  readonly #byUnit = new Map<string, readonly Resource[]>()
  readonly #staged = new Map<string, readonly Resource[]>()

  stage(unit: string, resources: readonly Resource[]): void {
    this.#staged.set(unit, resources)
  }

  ofType(typeUrl: string): ReadonlyMap<string, Resource> {
    return this.#table(typeUrl)
  }

  /** A name may move from one unit to another: all old ones go before any new one comes. */
  commit(): ResourceDelta {
    const before = new Map<string, Resource>()
    for (const unit of this.#staged.keys()) {
      for (const resource of this.#byUnit.get(unit) ?? []) {
        before.set(keyOf(resource), resource)
        this.#table(resource.typeUrl).delete(resource.name)
      }
    }
    const changed: Resource[] = []
    for (const [unit, resources] of this.#staged) {
      if (resources.length === 0) this.#byUnit.delete(unit)
      else this.#byUnit.set(unit, resources)
      for (const resource of resources) {
        const key = keyOf(resource)
        const old = before.get(key)
        before.delete(key)
        const same = old !== undefined && isSame(old, resource)
        this.#table(resource.typeUrl).set(resource.name, same ? old : resource)
        if (!same) changed.push(resource)
      }
    }
    this.#staged.clear()
    const removed = [...before.values()].map(({ typeUrl, name }) => ({ typeUrl, name }))
    return { changed, removed }
  }

  #table(typeUrl: string): Map<string, Resource> {
    const table = this.#types.get(typeUrl) ?? new Map<string, Resource>()
    this.#types.set(typeUrl, table)
    return table
  }
}

const keyOf = ({ typeUrl, name }: Resource): string => `${typeUrl} ${name}`

const isSame = (a: Resource, b: Resource): boolean =>
  a.version === b.version && a.aliases.join(' ') === b.aliases.join(' ')
