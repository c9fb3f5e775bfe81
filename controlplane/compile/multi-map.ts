/** Several values a key; a key without values takes no room. */
export class MultiMap {
  readonly #values = new Map<string, Set<string>>()

  add(key: string, value: string): void {
    const values = this.#values.get(key)
    if (values === undefined) this.#values.set(key, new Set([value]))
    else values.add(value)
  }

  remove(key: string, value: string): void {
    const values = this.#values.get(key)
    values?.delete(value)
    if (values?.size === 0) this.#values.delete(key)
  }

  of(key: string): Iterable<string> {
    return this.#values.get(key) ?? []
  }

  *all(): Iterable<string> {
    for (const values of this.#values.values()) yield* values
  }
}
