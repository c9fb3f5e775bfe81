import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ADDRESS_TYPE } from '../../controlplane/compile/resource.ts'
import { type Batch, Subscription } from '../../controlplane/xds/subscription.ts'
import { testPod, testService, testStore } from '../../controlplane/xds/testing-store.ts'

/** A client as the protocol wants it, and the connection between: messages wait until they are delivered. */
class ModelClient {
  readonly store = testStore()
  readonly #limits = { mostNames: 2, mostBytes: 100_000, holdRemovals: false }
  /** What the client accepted, over all its streams. */
  readonly held = new Map<string, string>()
  /** What it refused since it was sent; it holds the older version, or none. */
  readonly refused = new Set<string>()
  #subscription: Subscription | undefined
  #inFlight:
    | { readonly nonce: string; readonly batch: Batch; readonly asked: ReadonlySet<string> }
    | undefined
  #nonce = 0
  readonly #onDemand: boolean
  readonly #keys = new Set<string>()
  /** Names that may be sent though the client has them, since it asked. */
  readonly #asked = new Set<string>()

  constructor(onDemand: boolean) {
    this.#onDemand = onDemand
    this.store.onChange((_type, changes) => this.#subscription?.changed(changes))
  }

  connect(): void {
    this.#inFlight = undefined
    this.#asked.clear()
    this.#subscription = new Subscription(this.store.view(ADDRESS_TYPE), '')
    const initialVersions = Object.fromEntries(this.held)
    if (this.#onDemand) for (const key of this.#keys) initialVersions[key] ??= ''
    this.#request({
      subscribe: this.#onDemand ? ['*'] : [],
      unsubscribe: this.#onDemand ? ['*'] : [],
      initialVersions,
    })
    for (const name of this.refused) this.held.delete(name)
  }

  ask(key: string): void {
    if (!this.#onDemand || this.#subscription === undefined) return
    this.#keys.add(key)
    this.#request({ subscribe: [key] })
    for (const name of this.store.view(ADDRESS_TYPE).resolve(key)) this.#asked.add(name)
  }

  /** The server sends if it may. */
  send(): boolean {
    if (this.#inFlight !== undefined) return false
    const batch = this.#subscription?.next(this.#limits)
    if (batch === undefined) return false
    this.#nonce++
    const nonce = String(this.#nonce)
    this.#subscription?.sent(nonce)
    this.#inFlight = { nonce, batch, asked: new Set(this.#asked) }
    if (!batch.partial) this.#asked.clear()
    return true
  }

  /** The client gets the response, and answers; `refuse` picks resources it does not like. */
  deliver(refuse: boolean): boolean {
    const inFlight = this.#inFlight
    if (inFlight === undefined) return false
    this.#inFlight = undefined
    const { nonce, batch, asked } = inFlight
    expect(batch.resources.length + batch.removed.length).toBeLessThanOrEqual(
      this.#limits.mostNames + this.#keys.size,
    )
    const first = batch.resources[0]
    for (const { name, version } of batch.resources) {
      if (!asked.has(name)) expect(this.held.get(name), name).not.toBe(version)
      this.held.set(name, version)
      this.refused.delete(name)
    }
    for (const name of batch.removed) {
      this.held.delete(name)
      this.refused.delete(name)
    }
    if (refuse && first !== undefined) {
      this.held.delete(first.name)
      this.refused.add(first.name)
    }
    this.#request({
      nonce,
      ...(refuse && first !== undefined ? { error: `${first.name}: no` } : {}),
    })
    return true
  }

  /** Everything is delivered, and what was refused is offered again by a new stream. */
  settle(): void {
    this.connect()
    for (let turns = 0; this.send() && this.deliver(false); turns++)
      expect(turns).toBeLessThan(1_000)
  }

  expected(): Map<string, string> {
    const view = this.store.view(ADDRESS_TYPE)
    const names = this.#onDemand
      ? [...this.#keys, ...this.held.keys()].flatMap((key) => view.resolve(key))
      : [...view.all()].map((one) => one.name)
    return new Map(names.map((name) => [name, view.find(name)?.version ?? '']))
  }

  #request(given: {
    subscribe?: readonly string[]
    unsubscribe?: readonly string[]
    initialVersions?: Record<string, string>
    nonce?: string
    error?: string
  }): void {
    const request = {
      subscribe: [],
      unsubscribe: [],
      initialVersions: {},
      nonce: '',
      error: undefined,
    }
    expect(this.#subscription?.request({ ...request, ...given })).not.toBe('stale')
  }
}

const pod = fc.constantFrom('a', 'b', 'c')
const version = fc.constantFrom('v1', 'v2')
const service = fc.constantFrom('ns/s', 'ns/t')
const step = fc.oneof(
  fc.record({ do: fc.constant('put' as const), pod, version, service }),
  fc.record({ do: fc.constant('put-service' as const), service, version }),
  fc.record({ do: fc.constant('remove' as const), name: fc.oneof(pod, service) }),
  fc.record({ do: fc.constant('ask' as const), key: fc.oneof(pod, service, fc.constant('/ip-a')) }),
  fc.record({ do: fc.constant('send' as const) }),
  fc.record({ do: fc.constant('deliver' as const), refuse: fc.constantFrom(false, false, true) }),
  // Less often than the rest: a new stream forgets what the old one did wrong.
  fc.record({ do: fc.constantFrom('connect' as const, ...Array<'send'>(3).fill('send')) }),
)

function play(
  client: ModelClient,
  one: typeof step extends fc.Arbitrary<infer T> ? T : never,
): void {
  switch (one.do) {
    case 'put': {
      // Content and version belong together.
      const services = one.version === 'v1' ? [] : [one.service]
      const resource = testPod(one.pod, {
        version: `${one.version}${services.join()}`,
        services,
        aliases: [`/ip-${one.pod}`],
      })
      client.store.apply({ changed: [resource], removed: [] })
      return
    }
    case 'put-service':
      client.store.apply({ changed: [testService(one.service, one)], removed: [] })
      return
    case 'remove':
      client.store.apply({ changed: [], removed: [{ typeUrl: ADDRESS_TYPE, name: one.name }] })
      return
    case 'ask':
      client.ask(one.key)
      return
    case 'send':
      client.send()
      return
    case 'deliver':
      client.deliver(one.refuse)
      return
    case 'connect':
      client.connect()
  }
}

describe('xDS subscriptions', () => {
  test.for([false, true])(
    'a client always comes to what the server has (on demand: %s)',
    (onDemand) => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
          const client = new ModelClient(onDemand)
          client.connect()
          for (const one of steps) play(client, one)
          client.settle()
          expect(client.held).toEqual(client.expected())
        }),
        { numRuns: 2_000 },
      )
    },
  )

  test.for([false, true])(
    'a stream that lives on comes there too, unless something was refused (on demand: %s)',
    (onDemand) => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
          const client = new ModelClient(onDemand)
          client.connect()
          for (const one of steps) {
            if (one.do === 'deliver') client.deliver(false)
            else if (one.do !== 'connect') play(client, one)
          }
          client.deliver(false)
          while (client.send()) client.deliver(false)
          expect(client.held).toEqual(client.expected())
        }),
        { numRuns: 1_000 },
      )
    },
  )
})
