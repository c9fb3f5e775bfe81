import { compareAge } from './age.ts'
import type { IpFamily } from './vips.ts'

/** An object says that it is the service of a hostname. */
export interface HostClaim {
  /** The object, `Kind/namespace/name`. */
  readonly unit: string
  readonly kind: 'Service' | 'ServiceEntry'
  readonly namespace: string
  readonly name: string
  readonly creationTimestamp: number | undefined
  readonly hostname: string
  /** The families in which the service needs an address of ours. */
  readonly vipFamilies: readonly IpFamily[]
}

/** Which object is the service of a hostname (controlplane spec, section 1.10). */
export class HostTable {
  /** In order: the first is canonical, the first of a namespace wins there. */
  readonly #claims = new Map<string, readonly HostClaim[]>()

  /** Replaces what an object claims by what it claims now; returns all objects whose standing may differ. */
  replace(unit: string, before: readonly HostClaim[], after: readonly HostClaim[]): Set<string> {
    const changed = new Set<string>()
    const hostnames = new Set([...before, ...after].map((claim) => claim.hostname))
    for (const hostname of hostnames) {
      const held = this.#claims.get(hostname) ?? []
      const others = held.filter((claim) => claim.unit !== unit)
      const own = after.filter((claim) => claim.hostname === hostname)
      const next = [...others, ...own].sort(compareClaims)
      if (next.length === 0) this.#claims.delete(hostname)
      else this.#claims.set(hostname, next)
      for (const claim of others) {
        if (standing(held, claim) !== standing(next, claim)) changed.add(claim.unit)
      }
    }
    return changed
  }

  /** The object that is this service in its namespace. */
  winner(namespace: string, hostname: string): HostClaim | undefined {
    return this.#claims.get(hostname)?.find((claim) => claim.namespace === namespace)
  }

  /** The object that is this service for all namespaces without one of their own. */
  canonical(hostname: string): HostClaim | undefined {
    return this.#claims.get(hostname)?.[0]
  }
}

function compareClaims(a: HostClaim, b: HostClaim): number {
  if (a.kind !== b.kind) return a.kind === 'Service' ? -1 : 1
  return compareAge(a, b)
}

function standing(claims: readonly HostClaim[], claim: HostClaim): string {
  const winner = claims.find((one) => one.namespace === claim.namespace)
  return `${winner?.unit === claim.unit} ${claims[0]?.unit === claim.unit}`
}
