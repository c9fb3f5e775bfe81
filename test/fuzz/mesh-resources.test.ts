import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAuthorization } from '../../shared/authz/convert.ts'
import { parseAddressResource } from '../../shared/mesh/convert.ts'
import { MeshStore, type Upsert } from '../../shared/mesh/store.ts'
import {
  policyResource,
  serviceResource,
  workloadResource,
} from '../../shared/mesh/testing-mesh.ts'

const anyBytes = fc.uint8Array({ maxLength: 200 })
const samples: Upsert[] = [
  workloadResource({
    name: 'a',
    addresses: [Buffer.from([10, 0, 0, 1])],
    services: { 'default/web': { ports: [{ servicePort: 80, targetPort: 8080 }] } },
    waypoint: {
      destination: { $case: 'address', value: { address: Buffer.from([10, 0, 0, 2]) } },
    },
    capacity: 3,
  }),
  serviceResource({
    hostname: 'web',
    addresses: [{ address: Buffer.alloc(16, 1), length: 64 }],
    ports: [{ servicePort: 80, targetPort: 8080 }],
    loadBalancing: { mode: 1, routingPreference: [1, 2] },
  }),
  policyResource({
    name: 'p',
    groups: [
      {
        rules: [
          {
            matches: [
              {
                principals: [{ matchType: { $case: 'prefix', value: 'td' } }],
                sourceIps: [{ address: Buffer.from([10, 0, 0, 0]), length: 8 }],
                destinationPorts: [80],
              },
            ],
          },
        ],
      },
    ],
  }),
]
/** A good message with some bytes replaced, so that the damage is deep inside. */
const damaged = fc
  .tuple(
    fc.constantFrom(...samples),
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    fc.nat(),
  )
  .map(([sample, changes, cut]) => {
    const body = Uint8Array.from(sample.body)
    for (const [at, value] of changes) body[at % body.length] = value
    const end = cut % 3 === 0 ? cut % body.length : body.length
    return { name: sample.name, body: body.subarray(0, end) }
  })
const resource = fc.oneof(
  damaged,
  fc.record({ name: fc.constantFrom('a', 'default/web', 'default/p'), body: anyBytes }),
)

test('any bytes are converted or refused with a reason', () => {
  fc.assert(
    fc.property(resource, ({ name, body }) => {
      for (const result of [parseAddressResource(name, body), parseAuthorization(name, body)]) {
        if (result.kind !== 'rejected') continue
        expect(result.errors.length).toBeGreaterThan(0)
        expect(result.errors.length).toBeLessThan(11)
      }
    }),
    { numRuns: 20_000 },
  )
})

test('a store takes any bytes, and what it holds can be dumped', () => {
  fc.assert(
    fc.property(fc.array(resource, { maxLength: 10 }), (resources) => {
      const store = new MeshStore()
      store.applyAddresses(resources, [])
      store.applyPolicies(resources, [])
      JSON.stringify(store.dump())
    }),
    { numRuns: 1_000 },
  )
})

/** What an observer can ask, after which nothing of the order of arrival may show. */
function answers(store: MeshStore): unknown {
  const addresses = ['10.0.0.0', '10.0.0.1', '10.0.0.2']
  return {
    dump: store.dump(),
    byAddress: addresses.map((address) => store.workloadByAddress('', address)?.uid),
    services: addresses.flatMap((address) =>
      ['x', 'y'].map((client) => store.serviceByAddress('', address, client)?.key),
    ),
    byName: store.serviceByHostname('web', 'z')?.key,
    endpoints: store.dump().services.map((service) => {
      const found = store.serviceByKey(`${String(service['namespace'])}/web`)
      return found && [...store.endpointsOf(found)].map(({ workload }) => workload.uid).sort()
    }),
  }
}

const ip = fc.integer({ min: 0, max: 2 }).map((last) => Buffer.from([10, 0, 0, last]))
const someWorkload = fc
  .record({
    uid: fc.constantFrom('c//Pod/a', 'c//Pod/b', 'c//Entry/c'),
    addresses: fc.array(ip, { maxLength: 2 }),
    networkMode: fc.constantFrom(0 as const, 1 as const),
    tunnelProtocol: fc.constantFrom(0 as const, 1 as const),
    status: fc.constantFrom(0 as const, 1 as const),
    service: fc.constantFrom('x/web', 'y/web', undefined),
  })
  .map(({ service, ...rest }) =>
    workloadResource({ ...rest, services: service === undefined ? {} : { [service]: {} } }),
  )
const someService = fc
  .record({
    namespace: fc.constantFrom('x', 'y'),
    hostname: fc.constant('web'),
    canonical: fc.boolean(),
    visibility: fc.constantFrom(0 as const, 1 as const),
    loadBalancing: fc.record({ healthPolicy: fc.constantFrom(0 as const, 1 as const) }),
    addresses: fc.array(
      fc.record({ address: ip, length: fc.constantFrom(undefined, 24, 31, 32) }),
      { maxLength: 2 },
    ),
  })
  .map(serviceResource)
type Step = { readonly upsert: Upsert } | { readonly remove: string }
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.oneof(someWorkload, someService).map((upsert) => ({ upsert })),
  fc
    .constantFrom('c//Pod/a', 'c//Pod/b', 'c//Entry/c', 'x/web', 'y/web')
    .map((remove) => ({ remove })),
)

test('a store that saw many changes answers like one that was given the outcome', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const store = new MeshStore()
      const outcome = new Map<string, Upsert>()
      for (const one of steps) {
        if ('remove' in one) {
          outcome.delete(one.remove)
          store.applyAddresses([], [one.remove])
        } else {
          outcome.set(one.upsert.name, one.upsert)
          store.applyAddresses([one.upsert], [])
        }
        answers(store)
      }
      const fresh = new MeshStore()
      fresh.applyAddresses(
        [...outcome.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
        [],
      )
      expect(sorted(answers(store))).toEqual(sorted(answers(fresh)))
    }),
    { numRuns: 1_000 },
  )
})

/** Keys of objects have an order too. */
const sorted = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
