import { type FSWatcher, mkdirSync, readdirSync, statfsSync, watch } from 'node:fs'
import { join } from 'node:path'
import { NetworkNamespace } from '../../shared/linux/namespace.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'

/** Where `ip netns` keeps its names. */
const NAMED = '/var/run/netns'

/** The file system of namespaces (statfs(2)). */
const NSFS_MAGIC = 0x6e736673

/** After a name appears its namespace still gets its address; looks follow each other at these distances. */
const LOOKS_MS = [5, 20, 50, 100, 200, 400, 800, 1_600]
const SLOW_LOOK_MS = 5_000

/** No node runs more pods than this; what lies beyond is reported and left alone. */
const MAX_NAMESPACES = 2_000

export type Finding =
  | { readonly kind: 'missing' }
  | { readonly kind: 'found'; readonly name: string; readonly key: string }
  | { readonly kind: 'conflict'; readonly names: readonly string[] }

interface Seen {
  readonly namespace: NetworkNamespace
  addresses: readonly string[]
}

/**
 * Tells which local network namespace owns an address. Only namespaces whose name begins with the scope count, only
 * those owned by the initial user namespace (others could be made by anyone), and only if exactly one owns it.
 */
export class NamespaceFinder implements Disposable {
  readonly #scope: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #seen = new Map<string, Seen>()
  readonly #reported = new Set<string>()
  readonly #listeners = new Set<() => void>()
  #watcher: FSWatcher | undefined
  #timer: Timer | undefined
  #look = 0

  constructor(options: { readonly scope: string; readonly clock: Clock; readonly log: Log }) {
    this.#scope = options.scope
    this.#clock = options.clock
    this.#log = options.log
  }

  start(): void {
    mkdirSync(NAMED, { recursive: true })
    this.#watcher = watch(NAMED, () => this.hurry())
    this.#watcher.on('error', (error) => {
      this.#log.warn('cannot watch namespaces, looking now and then', {
        error: describeError(error),
      })
    })
    this.scan()
    this.#schedule()
  }

  /** Something changed or is about to: look again soon, and a few times after. */
  hurry(): void {
    this.#look = 0
    this.#schedule()
  }

  /** Called after every look that saw a difference. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  find(addresses: readonly string[]): Finding {
    const owners = [...this.#seen].filter(([, seen]) =>
      addresses.some((address) => seen.addresses.includes(address)),
    )
    const [first, second] = owners
    if (first === undefined) return { kind: 'missing' }
    if (second !== undefined) return { kind: 'conflict', names: owners.map(([name]) => name) }
    return { kind: 'found', name: first[0], key: first[1].namespace.key }
  }

  /** A handle of the caller's own on a namespace that was found; undefined if it is gone or was replaced. */
  open(finding: { readonly name: string; readonly key: string }): NetworkNamespace | undefined {
    const namespace = openOrUndefined(join(NAMED, finding.name))
    if (namespace?.key === finding.key) return namespace
    namespace?.[Symbol.dispose]()
    return undefined
  }

  /** Whether a namespace is still there, under whatever name. */
  has(key: string): boolean {
    return [...this.#seen.values()].some((seen) => seen.namespace.key === key)
  }

  /** All namespaces in scope by name, for releasing a node. */
  namespaces(): readonly (readonly [string, NetworkNamespace])[] {
    return Array.from(this.#seen, ([name, { namespace }]) => [name, namespace] as const)
  }

  [Symbol.dispose](): void {
    this.#watcher?.close()
    this.#timer?.cancel()
    for (const { namespace } of this.#seen.values()) namespace[Symbol.dispose]()
    this.#seen.clear()
  }

  /** Reads names and addresses now; returns whether anything differs from the last look. */
  scan(): boolean {
    let changed = false
    const names = new Set(this.#names())
    for (const [name, seen] of this.#seen) {
      if (names.has(name)) continue
      seen.namespace[Symbol.dispose]()
      this.#seen.delete(name)
      changed = true
    }
    for (const name of names) changed = this.#refresh(name) || changed
    return changed
  }

  #schedule(): void {
    this.#timer?.cancel()
    const wait = LOOKS_MS[this.#look] ?? SLOW_LOOK_MS
    this.#timer = this.#clock.after(wait, () => {
      this.#look++
      if (this.scan()) for (const listener of this.#listeners) listener()
      this.#schedule()
    })
  }

  #names(): readonly string[] {
    const names = readdirSync(NAMED).filter((name) => name.startsWith(this.#scope))
    if (names.length > MAX_NAMESPACES) {
      this.#reportOnce('many', 'more namespaces than one node can have; the rest is left alone', {
        scope: this.#scope,
        count: names.length,
      })
    }
    return names.slice(0, MAX_NAMESPACES)
  }

  #refresh(name: string): boolean {
    const namespace = openOrUndefined(join(NAMED, name))
    const known = this.#seen.get(name)
    if (namespace === undefined || namespace.key !== known?.namespace.key) {
      known?.namespace[Symbol.dispose]()
      this.#seen.delete(name)
      if (namespace === undefined) return known !== undefined
      if (!namespace.ownedByInitialUserNamespace()) {
        this.#reportOnce(
          `${name} ${namespace.key}`,
          'a namespace of another user namespace is not a pod',
          { name },
        )
        namespace[Symbol.dispose]()
        return known !== undefined
      }
      this.#seen.set(name, { namespace, addresses: namespace.addresses() })
      return true
    }
    namespace[Symbol.dispose]()
    const addresses = known.namespace.addresses()
    const same = addresses.join() === known.addresses.join()
    known.addresses = addresses
    return !same
  }

  #reportOnce(key: string, message: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.#reported.has(key) || this.#reported.size > MAX_NAMESPACES) return
    this.#reported.add(key)
    this.#log.warn(message, fields)
  }
}

/** A name appears before its namespace is mounted on it, and may vanish at any time. */
function openOrUndefined(path: string): NetworkNamespace | undefined {
  try {
    return statfsSync(path).type === NSFS_MAGIC ? NetworkNamespace.open(path) : undefined
  } catch {
    return undefined
  }
}
