/**
 * Addresses that resources claim which could not be used. Somebody of the mesh is there, but not how to reach him
 * safely: such an address is not an unknown one, to which connections would pass in plaintext.
 */
export class RefusedAddresses {
  readonly #claims = new Map<string, ReadonlySet<string>>()

  /** What a refused resource claims, `network/ip` each; empty if it could not be read that far. */
  put(name: string, claims: readonly string[]): void {
    if (claims.length > 0) this.#claims.set(name, new Set(claims))
    else this.#claims.delete(name)
  }

  /** The resource is gone, or a version of it that can be used came. */
  remove(name: string): void {
    this.#claims.delete(name)
  }

  /** Few resources are ever refused, so that looking at each is cheap. */
  has(network: string, address: string): boolean {
    if (this.#claims.size === 0) return false
    const key = `${network}/${address}`
    return [...this.#claims.values()].some((claims) => claims.has(key))
  }
}
