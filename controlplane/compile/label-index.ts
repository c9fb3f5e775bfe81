type Labels = Readonly<Record<string, string>>

/** Whether every label of `selector` is among `labels`. An empty selector selects everything. */
export function selects(selector: Labels, labels: Labels): boolean {
  for (const key in selector) {
    if (!Object.hasOwn(labels, key) || labels[key] !== selector[key]) return false
  }
  return true
}

const pairOf = (key: string, value: string): string => `${key}=${value}`

/** Which labelled things does a selector select? Answers without looking at the others of the namespace. */
export class LabelIndex {
  readonly #labels = new Map<string, Labels>()
  /** By namespace, then by label; `''` holds all of a namespace. */
  readonly #things = new Map<string, Map<string, Set<string>>>()

  add(namespace: string, labels: Labels, thing: string): void {
    this.#labels.set(thing, labels)
    const pairs = this.#things.get(namespace) ?? new Map<string, Set<string>>()
    this.#things.set(namespace, pairs)
    for (const pair of pairsOf(labels)) {
      const things = pairs.get(pair)
      if (things === undefined) pairs.set(pair, new Set([thing]))
      else things.add(thing)
    }
  }

  remove(namespace: string, labels: Labels, thing: string): void {
    this.#labels.delete(thing)
    const pairs = this.#things.get(namespace)
    if (pairs === undefined) return
    for (const pair of pairsOf(labels)) {
      const things = pairs.get(pair)
      things?.delete(thing)
      if (things?.size === 0) pairs.delete(pair)
    }
    if (pairs.size === 0) this.#things.delete(namespace)
  }

  inNamespace(namespace: string): Iterable<string> {
    return this.#things.get(namespace)?.get('') ?? []
  }

  namespaces(): Iterable<string> {
    return this.#things.keys()
  }

  selected(namespace: string, selector: Labels): string[] {
    const pairs = this.#things.get(namespace)
    if (pairs === undefined) return []
    let fewest: ReadonlySet<string> | undefined
    for (const pair of pairsOf(selector)) {
      const things = pairs.get(pair)
      if (things === undefined) return []
      if (fewest === undefined || things.size < fewest.size) fewest = things
    }
    return [...(fewest ?? [])].filter((thing) => selects(selector, this.#labels.get(thing) ?? {}))
  }
}

/** Which selectors select these labels? Answers without looking at selectors for other labels. */
export class SelectorIndex {
  readonly #selectors = new Map<string, Labels>()
  /** By namespace, then by the first label of the selector; `''` holds selectors without labels. */
  readonly #owners = new Map<string, Map<string, Set<string>>>()

  add(namespace: string, selector: Labels, owner: string): void {
    this.#selectors.set(owner, selector)
    const pairs = this.#owners.get(namespace) ?? new Map<string, Set<string>>()
    this.#owners.set(namespace, pairs)
    const pair = firstPair(selector)
    const owners = pairs.get(pair)
    if (owners === undefined) pairs.set(pair, new Set([owner]))
    else owners.add(owner)
  }

  remove(namespace: string, selector: Labels, owner: string): void {
    this.#selectors.delete(owner)
    const pairs = this.#owners.get(namespace)
    const pair = firstPair(selector)
    const owners = pairs?.get(pair)
    owners?.delete(owner)
    if (owners?.size === 0) pairs?.delete(pair)
    if (pairs?.size === 0) this.#owners.delete(namespace)
  }

  /** In no particular order. */
  selecting(namespace: string, labels: Labels): string[] {
    const pairs = this.#owners.get(namespace)
    if (pairs === undefined) return []
    const found: string[] = []
    for (const pair of pairsOf(labels)) {
      for (const owner of pairs.get(pair) ?? []) {
        if (selects(this.#selectors.get(owner) ?? {}, labels)) found.push(owner)
      }
    }
    return found
  }
}

function* pairsOf(labels: Labels): Iterable<string> {
  yield ''
  for (const key in labels) yield pairOf(key, labels[key] ?? '')
}

function firstPair(selector: Labels): string {
  const key = Object.keys(selector).sort()[0]
  return key === undefined ? '' : pairOf(key, selector[key] ?? '')
}
