import type { Resource } from '../compile/resource.ts'
import type { NameChange, ResourceView } from './resource-store.ts'

/** A request as far as one type's subscription is concerned. */
export interface SubscriptionRequest {
  readonly subscribe: readonly string[]
  readonly unsubscribe: readonly string[]
  readonly initialVersions: Readonly<Record<string, string>>
  readonly nonce: string
  /** Why the client refused resources; undefined if it did not. */
  readonly error: string | undefined
}

/** `refused`: more keys than one stream may have. `stale`: it answers an older response, and is ignored. */
export type RequestOutcome = 'subscribed' | 'ack' | 'nack' | 'stale' | 'refused'

export interface BatchLimits {
  readonly mostNames: number
  readonly mostBytes: number
  /** Keep removals back for a later batch. */
  readonly holdRemovals: boolean
}

export interface Batch {
  readonly resources: readonly Resource[]
  readonly removed: readonly string[]
  /** More is to follow at once. */
  readonly partial: boolean
  /** Only on-demand clients want to know them. */
  readonly withAliases: boolean
}

export interface SubscriptionStatus {
  readonly wildcard: boolean
  readonly keys: number
  readonly pending: number
  readonly sentNonce: string
  readonly acked: boolean
  readonly lastError: string | undefined
}

const MOST_KEYS = 200_000
const ALL = '*'
/** The client holds some version, and is to get the present one whichever that is. */
const ANY_VERSION = ''
/** About what a resource takes on the wire besides its body and its name. */
const OVERHEAD_BYTES = 96
const NOTHING_HELD: ReadonlyMap<string, string> = new Map()

/**
 * What one client wants of one type, what it has, and what it is due (controlplane spec, sections 6.4 to 6.6). No I/O.
 *
 * A name is pending from the moment it changes until it is sent, together with the version that the client holds; so
 * changes merge by name, a change that is taken back is never sent, and everything that is not pending is up to date
 * without being remembered for each client.
 */
export class Subscription {
  readonly #view: ResourceView
  readonly #node: string
  #started = false
  #wildcard = false
  /** What an on-demand client asked for: names and aliases. */
  readonly #keys = new Set<string>()
  /** What an on-demand client has, or is to get, by name. */
  readonly #known = new Set<string>()
  /** Names to be looked at, each with the version that the client holds; undefined if it holds none. */
  readonly #pending = new Map<string, string | undefined>()
  /** Keys whose absence has to be said. */
  readonly #asked = new Set<string>()
  /** A request is to be answered even if there is nothing to say. */
  #owed = false
  #sentNonce = ''
  #awaiting = false
  #lastError: string | undefined

  /** `node`: the caller's; its workloads come to an on-demand client without being asked for. */
  constructor(view: ResourceView, node: string) {
    this.#view = view
    this.#node = node
  }

  get wildcard(): boolean {
    return this.#wildcard
  }

  /** Whether `next` may have something. */
  get due(): boolean {
    return !this.#awaiting && (this.#owed || this.#pending.size > 0 || this.#asked.size > 0)
  }

  /** Whether there is something that the client has not been sent. */
  get unsent(): boolean {
    return !this.#unsent().next().done
  }

  /** The same, removals aside. */
  get unsentUpserts(): boolean {
    for (const [, resource] of this.#unsent()) if (resource !== undefined) return true
    return false
  }

  status(): SubscriptionStatus {
    return {
      wildcard: this.#wildcard,
      keys: this.#keys.size,
      pending: this.#pending.size,
      sentNonce: this.#sentNonce,
      acked: !this.#awaiting,
      lastError: this.#lastError,
    }
  }

  request(request: SubscriptionRequest): RequestOutcome {
    if (!this.#started) return this.#first(request)
    const { nonce, error, subscribe, unsubscribe } = request
    if (nonce !== '' && nonce !== this.#sentNonce) return 'stale'
    const answers = nonce !== '' && this.#awaiting
    if (answers) this.#awaiting = false
    if (error !== undefined) this.#lastError = error
    else if (answers) this.#lastError = undefined
    if (subscribe.length > 0 || unsubscribe.length > 0) {
      if (this.#keys.size + subscribe.length > MOST_KEYS) return 'refused'
      this.#subscribe(subscribe)
      this.#unsubscribe(unsubscribe)
      this.#owed = true
      return error === undefined ? 'subscribed' : 'nack'
    }
    if (error !== undefined) return 'nack'
    if (nonce !== '') return 'ack'
    this.#owed = true
    return 'subscribed'
  }

  /** Takes changes of the store, after they were made. */
  changed(changes: readonly NameChange[]): void {
    if (!this.#started) return
    for (const { name, previous } of changes) {
      if (this.#wildcard || this.#known.has(name)) {
        if (!this.#pending.has(name)) this.#pending.set(name, previous)
      } else if (this.#reaches(name)) {
        this.#want(name, NOTHING_HELD)
      }
    }
  }

  /** The next response, if one is due; `sent` has to follow. */
  next(limits: BatchLimits): Batch | undefined {
    if (!this.due) return undefined
    const { resources, removed, partial } = this.#takePending(limits)
    if (!partial) removed.push(...this.#absentKeys(removed))
    const empty = resources.length === 0 && removed.length === 0
    if (empty && (partial || !this.#owed)) return undefined
    if (!partial) this.#owed = false
    return { resources, removed, partial, withAliases: !this.#wildcard }
  }

  /** The batch of `next` went out under this nonce. Nothing more is due until the client answers it. */
  sent(nonce: string): void {
    this.#sentNonce = nonce
    this.#awaiting = true
  }

  #first({ subscribe, unsubscribe, initialVersions }: SubscriptionRequest): RequestOutcome {
    const names = new Set([...subscribe, ...Object.keys(initialVersions)])
    for (const name of unsubscribe) names.delete(name)
    if (names.size > MOST_KEYS) return 'refused'
    this.#started = true
    this.#owed = true
    this.#wildcard = subscribe.length === 0 || names.has(ALL)
    names.delete(ALL)
    const held = new Map(Object.entries(initialVersions).filter(([, version]) => version !== ''))
    if (this.#wildcard) {
      for (const resource of this.#view.all()) this.#compare(resource, held.get(resource.name))
      for (const [name, version] of held) {
        if (this.#view.find(name) === undefined) this.#pending.set(name, version)
      }
      for (const name of names) if (!held.has(name)) this.#ask(name)
      return 'subscribed'
    }
    for (const key of names) {
      this.#keys.add(key)
      const version = held.get(key)
      if (version === undefined) this.#asked.add(key)
      const reached = this.#view.resolve(key)
      // The client holds it, and it is gone.
      if (reached.length === 0 && version !== undefined) this.#pending.set(key, version)
      for (const name of reached) this.#want(name, held)
    }
    for (const name of this.#view.onNode(this.#node)) this.#want(name, held)
    return 'subscribed'
  }

  /** What fits into one response of what the client does not have yet. */
  #takePending(limits: BatchLimits) {
    const resources: Resource[] = []
    const removed: string[] = []
    let bytes = 0
    let held = false
    for (const [name, resource] of this.#unsent()) {
      if (resource === undefined && limits.holdRemovals) {
        held = true
        continue
      }
      const size = OVERHEAD_BYTES + name.length + (resource?.body.length ?? 0)
      const count = resources.length + removed.length
      if (count > 0 && (count >= limits.mostNames || bytes + size > limits.mostBytes)) {
        return { resources, removed, partial: true }
      }
      bytes += size
      if (resource === undefined) removed.push(name)
      else resources.push(resource)
      this.#settle(name, resource)
    }
    return { resources, removed, partial: held }
  }

  /** Pending names that the client really lacks, with what is there now; the others are settled on the way. */
  *#unsent(): Generator<readonly [string, Resource | undefined]> {
    for (const [name, held] of this.#pending) {
      const resource = this.#view.find(name)
      if (resource?.version === held) this.#settle(name, resource)
      else yield [name, resource]
    }
  }

  #compare(resource: Resource, held: string | undefined): void {
    if (resource.version !== held) this.#pending.set(resource.name, held)
  }

  #subscribe(keys: readonly string[]): void {
    for (const key of keys) {
      if (key !== ALL) this.#ask(key)
      else if (!this.#wildcard) {
        this.#wildcard = true
        for (const { name } of this.#view.all()) {
          if (!this.#known.has(name)) this.#pending.set(name, undefined)
        }
        this.#known.clear()
      }
    }
  }

  /** Asked for by name: it is sent, or said to be absent, even if the client was told before. */
  #ask(key: string): void {
    this.#keys.add(key)
    this.#asked.add(key)
    for (const name of this.#view.resolve(key)) {
      const holds = this.#pending.has(name)
        ? this.#pending.get(name) !== undefined
        : this.#wildcard || this.#known.has(name)
      if (!this.#wildcard) this.#known.add(name)
      this.#pending.set(name, holds ? ANY_VERSION : undefined)
    }
  }

  #unsubscribe(keys: readonly string[]): void {
    if (keys.length === 0) return
    for (const key of keys) {
      if (key === ALL) this.#wildcard = false
      this.#keys.delete(key)
      this.#asked.delete(key)
    }
    if (this.#wildcard) return
    this.#known.clear()
    for (const key of this.#keys) for (const name of this.#view.resolve(key)) this.#known.add(name)
    for (const name of this.#view.onNode(this.#node)) this.#known.add(name)
    for (const name of this.#pending.keys()) {
      // That something is gone is still to be said.
      if (!this.#known.has(name) && this.#view.find(name) !== undefined) this.#pending.delete(name)
    }
  }

  /** An on-demand client is to have this resource, and the workloads of a service with it. */
  #want(name: string, held: ReadonlyMap<string, string>): void {
    if (this.#known.has(name)) return
    for (const one of this.#view.resolve(name)) {
      if (this.#known.has(one)) continue
      this.#known.add(one)
      const version = held.get(one)
      if (this.#pending.has(one) || this.#view.find(one)?.version === version) continue
      this.#pending.set(one, version)
    }
  }

  #reaches(name: string): boolean {
    if (this.#view.find(name) === undefined) return false
    if (this.#keys.has(name)) return true
    const { aliases, services, node } = this.#view.reach(name)
    return (
      (node !== '' && node === this.#node) ||
      aliases.some((alias) => this.#keys.has(alias)) ||
      services.some((service) => this.#known.has(service))
    )
  }

  #settle(name: string, resource: Resource | undefined): void {
    this.#pending.delete(name)
    if (resource === undefined) this.#known.delete(name)
  }

  #absentKeys(said: readonly string[]): string[] {
    const absent = [...this.#asked].filter((key) => this.#view.resolve(key).length === 0)
    this.#asked.clear()
    return absent.filter((key) => !said.includes(key))
  }
}
