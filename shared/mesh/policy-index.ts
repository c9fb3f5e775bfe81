import { parseAuthorization } from '../authz/convert.ts'
import type { Policy, PolicySet } from '../authz/model.ts'
import type { Workload } from './model.ts'

/**
 * The policies of the mesh by where they apply.
 *
 * A policy that could not be read must not open what it would have closed. If an earlier version of it was accepted,
 * that one stays in force. Otherwise its name counts as missing, which denies, wherever it may apply: where the
 * body says, if its scope could be read; else in the namespace of its name, and everywhere if that is the root
 * namespace (mesh-wide policies live there) or no namespace can be told.
 */
export class PolicyIndex {
  readonly #rootNamespace: string
  readonly #byName = new Map<string, Policy>()
  /** Those of scope NAMESPACE by namespace; those of scope GLOBAL under the empty name. */
  readonly #byNamespace = new Map<string, Map<string, Policy>>()
  /** Names of unreadable policies, by namespace as above; null if only workloads that list them are concerned. */
  readonly #invalid = new Map<string, string | null>()
  #sets = new WeakMap<Workload, PolicySet>()

  constructor(rootNamespace: string) {
    this.#rootNamespace = rootNamespace
  }

  get all(): ReadonlyMap<string, Policy> {
    return this.#byName
  }

  /** The errors, if the policy was refused. */
  put(name: string, body: Uint8Array): readonly string[] | undefined {
    const result = parseAuthorization(name, body)
    this.#sets = new WeakMap()
    if (result.kind === 'rejected') {
      if (!this.#byName.has(name)) this.#invalid.set(name, this.#reach(name, result.scope))
      return result.errors
    }
    const { policy } = result
    this.remove(name)
    this.#byName.set(name, policy)
    const namespace = namespaceKeyOf(policy)
    if (namespace === null) return undefined
    let there = this.#byNamespace.get(namespace)
    if (there === undefined) this.#byNamespace.set(namespace, (there = new Map()))
    there.set(name, policy)
    return undefined
  }

  remove(name: string): void {
    this.#sets = new WeakMap()
    this.#invalid.delete(name)
    const policy = this.#byName.get(name)
    if (policy === undefined) return
    this.#byName.delete(name)
    const namespace = namespaceKeyOf(policy)
    const there = namespace === null ? undefined : this.#byNamespace.get(namespace)
    there?.delete(name)
    if (there?.size === 0 && namespace !== null) this.#byNamespace.delete(namespace)
  }

  /** Those of the workload's namespace, the mesh-wide ones and those it lists (ztunnel spec 4.1). Kept until a policy changes. */
  of(workload: Workload): PolicySet {
    let set = this.#sets.get(workload)
    if (set === undefined) this.#sets.set(workload, (set = this.#gather(workload)))
    return set
  }

  #gather(workload: Workload): PolicySet {
    const policies = new Set<Policy>()
    const missing = new Set<string>()
    for (const namespace of ['', workload.namespace]) {
      for (const policy of this.#byNamespace.get(namespace)?.values() ?? []) policies.add(policy)
    }
    for (const [name, namespace] of this.#invalid) {
      if (namespace === '' || namespace === workload.namespace) missing.add(name)
    }
    for (const name of workload.authorizationPolicies) {
      const policy = this.#byName.get(name)
      if (policy === undefined) missing.add(name)
      else policies.add(policy)
    }
    return { policies: [...policies], missing: [...missing] }
  }

  #reach(name: string, scope: Policy['scope'] | undefined): string | null {
    const slash = name.indexOf('/')
    const namespace = slash > 0 ? name.slice(0, slash) : ''
    switch (scope) {
      case 'GLOBAL':
        return ''
      case 'NAMESPACE':
        return namespace
      case 'WORKLOAD_SELECTOR':
        return null
      case undefined:
        return namespace === this.#rootNamespace ? '' : namespace
    }
  }
}

function namespaceKeyOf(policy: Policy): string | null {
  switch (policy.scope) {
    case 'GLOBAL':
      return ''
    case 'NAMESPACE':
      return policy.namespace
    case 'WORKLOAD_SELECTOR':
      return null
  }
}
