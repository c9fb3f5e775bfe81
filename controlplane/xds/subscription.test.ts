import { describe, expect, test } from 'vitest'
import { ADDRESS_TYPE, type Resource } from '../compile/resource.ts'
import { NO_RESOURCES, type ResourceStore } from './resource-store.ts'
import { type Batch, Subscription, type SubscriptionRequest } from './subscription.ts'
import { testPod, testService, testStore } from './testing-store.ts'

const LIMITS = { mostNames: 100, mostBytes: 1_000_000, holdRemovals: false }

/** A subscription to the addresses of a store, and the sending side as the server does it. */
class Client {
  readonly store: ResourceStore
  readonly subscription: Subscription
  #nonce = 0

  constructor(store: ResourceStore, node = '') {
    this.store = store
    this.subscription = new Subscription(store.view(ADDRESS_TYPE), node)
    store.onChange((_type, changes) => this.subscription.changed(changes))
  }

  request(given: Partial<SubscriptionRequest> = {}) {
    return this.subscription.request({
      subscribe: [],
      unsubscribe: [],
      initialVersions: {},
      nonce: '',
      error: undefined,
      ...given,
    })
  }

  next(limits = LIMITS): Batch | undefined {
    const batch = this.subscription.next(limits)
    if (batch === undefined) return undefined
    this.#nonce++
    this.subscription.sent(this.nonce)
    return batch
  }

  get nonce(): string {
    return `n${this.#nonce}`
  }

  ack(): void {
    expect(this.request({ nonce: this.nonce })).toBe('ack')
  }

  /** Names sent and removed, after which the client has acknowledged. */
  exchange():
    | { readonly sent: readonly string[]; readonly removed: readonly string[] }
    | undefined {
    const batch = this.next()
    if (batch === undefined) return undefined
    this.ack()
    return { sent: batch.resources.map((one) => one.name), removed: batch.removed }
  }
}

const put = (store: ResourceStore, ...changed: readonly Resource[]): void =>
  store.apply({ changed, removed: [] })
const remove = (store: ResourceStore, ...names: readonly string[]): void =>
  store.apply({ changed: [], removed: names.map((name) => ({ typeUrl: ADDRESS_TYPE, name })) })

describe('the first request', () => {
  const rows: readonly {
    readonly name: string
    readonly request: Partial<SubscriptionRequest>
    readonly wildcard: boolean
    readonly sent: readonly string[]
    readonly removed: readonly string[]
  }[] = [
    { name: 'no names is a wildcard', request: {}, wildcard: true, sent: ['a', 'b'], removed: [] },
    {
      name: '* is a wildcard',
      request: { subscribe: ['*'] },
      wildcard: true,
      sent: ['a', 'b'],
      removed: [],
    },
    {
      name: '* subscribed and unsubscribed is nothing yet',
      request: { subscribe: ['*'], unsubscribe: ['*'] },
      wildcard: false,
      sent: [],
      removed: [],
    },
    {
      name: 'equal versions are not sent again',
      request: { initialVersions: { a: 'v1', b: 'v1' } },
      wildcard: true,
      sent: [],
      removed: [],
    },
    {
      name: 'other versions are sent, names that are gone are removed',
      request: { initialVersions: { a: 'v0', b: 'v1', gone: 'v1' } },
      wildcard: true,
      sent: ['a'],
      removed: ['gone'],
    },
    {
      name: 'a name of its own',
      request: { subscribe: ['a', 'unknown'] },
      wildcard: false,
      sent: ['a'],
      removed: ['unknown'],
    },
    {
      name: 'on demand after a reconnect',
      request: {
        subscribe: ['*'],
        unsubscribe: ['*'],
        initialVersions: { a: 'v1', b: 'v0', gone: 'v1', pending: '' },
      },
      wildcard: false,
      sent: ['b'],
      removed: ['gone', 'pending'],
    },
  ]

  test.for(rows)('$name', ({ request, wildcard, sent, removed }) => {
    const client = new Client(testStore(testPod('a'), testPod('b')))
    expect(client.request(request)).toBe('subscribed')
    expect(client.subscription.wildcard).toBe(wildcard)
    expect(client.exchange()).toEqual({ sent, removed })
    expect(client.next()).toBeUndefined()
  })

  test('of a type without resources is answered with an empty response', () => {
    const subscription = new Subscription(NO_RESOURCES, '')
    const request = {
      subscribe: [],
      unsubscribe: [],
      initialVersions: {},
      nonce: '',
      error: undefined,
    }
    subscription.request(request)
    expect(subscription.next(LIMITS)).toEqual({
      resources: [],
      removed: [],
      partial: false,
      withAliases: false,
    })
  })
})

describe('a wildcard subscription', () => {
  test('gets exactly what changes', () => {
    const store = testStore(testPod('a'), testPod('b'))
    const client = new Client(store)
    client.request()
    client.exchange()
    put(store, testPod('a', { version: 'v2' }), testPod('b'), testPod('c'))
    expect(client.exchange()).toEqual({ sent: ['a', 'c'], removed: [] })
    remove(store, 'b', 'never-there')
    expect(client.exchange()).toEqual({ sent: [], removed: ['b'] })
    expect(client.next()).toBeUndefined()
  })

  test('has one response under way, and what changes meanwhile merges', () => {
    const store = testStore(testPod('a'))
    const client = new Client(store)
    client.request()
    client.next()
    put(store, testPod('a', { version: 'v2' }), testPod('b'))
    expect(client.next()).toBeUndefined()
    put(store, testPod('a', { version: 'v3' }))
    remove(store, 'b')
    expect(client.subscription.status().pending).toBe(2)
    client.ack()
    const batch = client.next()
    expect(batch?.resources).toMatchObject([{ name: 'a', version: 'v3' }])
    expect(batch?.removed).toEqual([])
  })

  test('a change that is taken back is not sent', () => {
    const store = testStore(testPod('a'))
    const client = new Client(store)
    client.request()
    client.exchange()
    put(store, testPod('a', { version: 'v2' }))
    put(store, testPod('a', { version: 'v1' }))
    expect(client.next()).toBeUndefined()
  })

  test('a refusal is kept, answered by nothing, and cleared by the next acknowledgement', () => {
    const store = testStore(testPod('a'))
    const client = new Client(store)
    client.request()
    client.next()
    expect(client.request({ nonce: client.nonce, error: 'a: bad' })).toBe('nack')
    expect(client.subscription.status()).toMatchObject({ lastError: 'a: bad', acked: true })
    expect(client.next()).toBeUndefined()
    put(store, testPod('a', { version: 'v2' }))
    client.exchange()
    expect(client.subscription.status().lastError).toBeUndefined()
  })

  test('an answer to an older response is ignored', () => {
    const store = testStore(testPod('a'))
    const client = new Client(store)
    client.request()
    client.exchange()
    put(store, testPod('a', { version: 'v2' }))
    client.next()
    expect(client.request({ nonce: 'n1' })).toBe('stale')
    expect(client.request({ nonce: 'n1', error: 'bad' })).toBe('stale')
    expect(client.subscription.status()).toMatchObject({ acked: false, lastError: undefined })
  })

  test('a request without nonce is answered even if nothing is to be said', () => {
    const client = new Client(testStore(testPod('a')))
    client.request()
    client.exchange()
    client.request()
    expect(client.exchange()).toEqual({ sent: [], removed: [] })
  })

  test('a large answer comes in parts, the last of them marked as such', () => {
    const store = testStore(...['a', 'b', 'c', 'd', 'e'].map((name) => testPod(name)))
    const client = new Client(store)
    client.request()
    const parts: [number, boolean][] = []
    for (;;) {
      const batch = client.next({ ...LIMITS, mostNames: 2 })
      if (batch === undefined) break
      client.ack()
      parts.push([batch.resources.length, batch.partial])
    }
    expect(parts).toEqual([
      [2, true],
      [2, true],
      [1, false],
    ])
  })

  test('one resource is sent however large it is', () => {
    const client = new Client(testStore(testPod('a'), testPod('b')))
    client.request()
    expect(client.next({ ...LIMITS, mostBytes: 1 })?.resources.map((one) => one.name)).toEqual([
      'a',
    ])
  })

  test('removals can be held back', () => {
    const store = testStore(testPod('a'))
    const client = new Client(store)
    client.request()
    client.exchange()
    remove(store, 'a')
    put(store, testPod('b'))
    const held = client.next({ ...LIMITS, holdRemovals: true })
    expect(held).toMatchObject({ resources: [{ name: 'b' }], removed: [], partial: true })
    client.ack()
    expect(client.next({ ...LIMITS, holdRemovals: true })).toBeUndefined()
    expect(client.exchange()).toEqual({ sent: [], removed: ['a'] })
  })
})

describe('an on-demand subscription', () => {
  const onDemand = (store: ResourceStore, node = ''): Client => {
    const client = new Client(store, node)
    client.request({ subscribe: ['*'], unsubscribe: ['*'] })
    client.exchange()
    return client
  }

  test('resolves names, aliases of workloads and of services; a service brings its workloads', () => {
    const store = testStore(
      testPod('a', { aliases: ['/10.0.0.1'] }),
      testPod('b', { services: ['ns/web'] }),
      testService('ns/web', { aliases: ['/10.1.0.1'] }),
      testPod('c'),
    )
    const client = onDemand(store)
    client.request({ subscribe: ['/10.0.0.1'] })
    expect(client.exchange()).toEqual({ sent: ['a'], removed: [] })
    client.request({ subscribe: ['/10.1.0.1', '/10.9.9.9'] })
    expect(client.exchange()).toEqual({ sent: ['ns/web', 'b'], removed: ['/10.9.9.9'] })
  })

  test('says the aliases', () => {
    const client = onDemand(testStore(testPod('a')))
    client.request({ subscribe: ['a'] })
    expect(client.next()).toMatchObject({ withAliases: true })
  })

  test('follows what it asked for, and nothing else', () => {
    const store = testStore(testPod('a'), testPod('other'), testService('ns/web'))
    const client = onDemand(store)
    client.request({ subscribe: ['a', 'ns/web', '/10.0.0.9'] })
    client.exchange()
    put(store, testPod('a', { version: 'v2' }), testPod('other', { version: 'v2' }))
    expect(client.exchange()).toEqual({ sent: ['a'], removed: [] })
    put(
      store,
      testPod('late', { aliases: ['/10.0.0.9'] }),
      testPod('member', { services: ['ns/web'] }),
    )
    expect(client.exchange()).toEqual({ sent: ['late', 'member'], removed: [] })
    remove(store, 'a', 'other')
    expect(client.exchange()).toEqual({ sent: [], removed: ['a'] })
    put(store, testPod('a'))
    expect(client.exchange()).toEqual({ sent: ['a'], removed: [] })
  })

  test('what is asked for again is sent again, since somebody may be waiting', () => {
    const client = onDemand(testStore(testPod('a')))
    client.request({ subscribe: ['a'] })
    client.exchange()
    client.request({ subscribe: ['a'] })
    expect(client.exchange()).toEqual({ sent: ['a'], removed: [] })
  })

  test('unsubscribing one name drops no other', () => {
    const store = testStore(testPod('a'), testPod('b'))
    const client = onDemand(store)
    client.request({ subscribe: ['a', 'b'] })
    client.exchange()
    client.request({ unsubscribe: ['a'] })
    expect(client.exchange()).toEqual({ sent: [], removed: [] })
    put(store, testPod('a', { version: 'v2' }), testPod('b', { version: 'v2' }))
    expect(client.exchange()).toEqual({ sent: ['b'], removed: [] })
  })

  test('workloads of the own node come unasked', () => {
    const store = testStore(testPod('a', { node: 'n1' }), testPod('b', { node: 'n2' }))
    const client = new Client(store, 'n1')
    client.request({ subscribe: ['*'], unsubscribe: ['*'] })
    expect(client.exchange()).toEqual({ sent: ['a'], removed: [] })
    put(store, testPod('c', { node: 'n1' }))
    expect(client.exchange()).toEqual({ sent: ['c'], removed: [] })
  })

  test('becomes a wildcard and gets what it lacks', () => {
    const client = onDemand(testStore(testPod('a'), testPod('b')))
    client.request({ subscribe: ['a'] })
    client.exchange()
    client.request({ subscribe: ['*'] })
    expect(client.exchange()).toEqual({ sent: ['b'], removed: [] })
  })
})
