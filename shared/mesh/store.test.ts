import { describe, expect, test } from 'vitest'
import { evaluate } from '../authz/engine.ts'
import { parseIpAddress } from '../runtime/ip-address.ts'
import type { Workload } from './model.ts'
import { type MeshChange, MeshStore } from './store.ts'
import { policyResource, serviceResource, workloadResource } from './testing-mesh.ts'

const ip = (text: string): Buffer => Buffer.from(parseIpAddress(text) ?? [])
const uidOf = (name: string): string => `Kubernetes//Pod/default/${name}`
const KEY = 'default/web.default.svc.cluster.local'
const member = { [KEY]: { ports: [{ servicePort: 80, targetPort: 8080 }] } }
const vip = (text: string, length?: number) => ({
  addresses: [{ network: '', address: ip(text), ...(length !== undefined && { length }) }],
})

function storeOf(...upserts: { name: string; body: Uint8Array }[]): MeshStore {
  const store = new MeshStore()
  expect(store.applyAddresses(upserts, [])).toEqual([])
  return store
}

function workload(store: MeshStore, name: string): Workload {
  const found = store.workloadByUid(uidOf(name))
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}

describe('workloads', () => {
  test('are found by uid, address and name, until they are removed', () => {
    const store = storeOf(
      workloadResource({ name: 'a', addresses: [ip('10.0.0.1'), ip('fd00::1')] }),
    )
    const found = workload(store, 'a')
    const lookUps = () => [
      store.workloadByUid(uidOf('a')),
      store.workloadByAddress('', '10.0.0.1'),
      store.workloadByAddress('', 'fd00::1'),
      store.localWorkload({ uid: uidOf('a') }),
      store.localWorkload({ namespace: 'default', name: 'a', serviceAccount: 'default' }),
    ]
    expect(lookUps()).toEqual([found, found, found, found, found])
    expect(store.workloadByAddress('other', '10.0.0.1')).toBeUndefined()
    expect(
      store.localWorkload({ namespace: 'default', name: 'a', serviceAccount: 'x' }),
    ).toBeUndefined()
    store.applyAddresses([], [uidOf('a')])
    expect(lookUps()).toEqual(Array.from({ length: 5 }))
  })

  test('leave their old address when they move', () => {
    const store = storeOf(workloadResource({ name: 'a', addresses: [ip('10.0.0.1')] }))
    store.applyAddresses([workloadResource({ name: 'a', addresses: [ip('10.0.0.2')] })], [])
    expect(store.workloadByAddress('', '10.0.0.1')).toBeUndefined()
    expect(store.workloadByAddress('', '10.0.0.2')?.name).toBe('a')
  })

  test('of the host network are not found by address', () => {
    const store = storeOf(
      workloadResource({ name: 'a', addresses: [ip('10.0.0.1')], networkMode: 1 }),
    )
    expect(store.workloadByAddress('', '10.0.0.1')).toBeUndefined()
  })

  test('that claim one address are ranked: pod in the mesh, pod, other in the mesh, other', () => {
    const at = { addresses: [ip('10.0.0.1')] }
    const claims = [
      workloadResource({ ...at, uid: 'c//WorkloadEntry/other', tunnelProtocol: 0 }),
      workloadResource({ ...at, uid: 'c//WorkloadEntry/hbone' }),
      workloadResource({ ...at, uid: 'c//Pod/plain', tunnelProtocol: 0 }),
      workloadResource({ ...at, uid: 'c//Pod/hbone' }),
    ]
    for (const order of [claims, claims.toReversed()]) {
      const store = storeOf(...order)
      const winners: (string | undefined)[] = []
      for (let left = claims.length; left > 0; left--) {
        const winner = store.workloadByAddress('', '10.0.0.1')?.uid
        winners.push(winner)
        store.applyAddresses([], [winner ?? ''])
      }
      expect(winners).toEqual([
        'c//Pod/hbone',
        'c//Pod/plain',
        'c//WorkloadEntry/hbone',
        'c//WorkloadEntry/other',
      ])
      expect(store.workloadByAddress('', '10.0.0.1')).toBeUndefined()
    }
  })

  test('that are refused leave what was there', () => {
    const store = storeOf(workloadResource({ name: 'a', addresses: [ip('10.0.0.1')] }))
    const rejected = store.applyAddresses(
      [
        workloadResource({ name: 'a', tunnelProtocol: 2 }),
        workloadResource({ name: 'b', addresses: [ip('10.0.0.2')] }),
      ],
      [],
    )
    expect(rejected).toEqual([{ name: uidOf('a'), reason: 'tunnel_protocol: unknown value 2' }])
    expect(store.workloadByAddress('', '10.0.0.1')?.name).toBe('a')
    expect(store.workloadByAddress('', '10.0.0.2')?.name).toBe('b')
  })

  test('removals come before upserts', () => {
    const store = storeOf(workloadResource({ name: 'a' }))
    store.applyAddresses([workloadResource({ name: 'a', node: 'n' })], [uidOf('a')])
    expect(workload(store, 'a').node).toBe('n')
  })
})

describe('services by address and name', () => {
  const at = (given: Parameters<typeof serviceResource>[0]) =>
    serviceResource({ hostname: `${given.namespace ?? 'default'}.example`, ...given })
  const namespaceOf = (store: MeshStore, address: string, client: string) =>
    store.serviceByAddress('', address, client)?.namespace

  const rows: [string, Parameters<typeof serviceResource>[0][], string, string | undefined][] = [
    [
      'same namespace before canonical',
      [{ namespace: 'b', canonical: true }, { namespace: 'client' }],
      'client',
      'client',
    ],
    ['canonical before first', [{ namespace: 'b' }, { namespace: 'c', canonical: true }], 'x', 'c'],
    ['else the first', [{ namespace: 'c' }, { namespace: 'b' }], 'x', 'b'],
    [
      'a private service of another namespace is invisible',
      [{ namespace: 'b', visibility: 1, canonical: true }, { namespace: 'c' }],
      'x',
      'c',
    ],
    [
      'a private service of the own namespace is not',
      [{ namespace: 'b', visibility: 1 }],
      'b',
      'b',
    ],
    ['only invisible ones', [{ namespace: 'b', visibility: 1 }], 'x', undefined],
  ]
  test.for(rows)('%s', ([, services, client, expected]) => {
    const byAddress = storeOf(...services.map((one) => at({ ...vip('10.1.0.1'), ...one })))
    expect(namespaceOf(byAddress, '10.1.0.1', client)).toBe(expected)
    const byName = storeOf(...services.map((one) => at({ ...one, hostname: 'Shared.example' })))
    expect(byName.serviceByHostname('shared.EXAMPLE', client)?.namespace).toBe(expected)
  })

  test('an exact address wins over a range, and an invisible one falls through to the range', () => {
    const store = storeOf(
      at({ namespace: 'range', ...vip('10.1.0.0', 16) }),
      at({ namespace: 'exact', visibility: 1, ...vip('10.1.0.1') }),
    )
    expect(namespaceOf(store, '10.1.0.1', 'exact')).toBe('exact')
    expect(namespaceOf(store, '10.1.0.1', 'x')).toBe('range')
    expect(namespaceOf(store, '10.1.255.255', 'x')).toBe('range')
    expect(namespaceOf(store, '10.2.0.0', 'x')).toBeUndefined()
    expect(store.serviceByAddress('other', '10.1.0.1', 'x')).toBeUndefined()
  })

  test('ranges rank by namespace, then length, then canonical', () => {
    const store = storeOf(
      at({ namespace: 'wide', canonical: true, ...vip('10.0.0.0', 8) }),
      at({ namespace: 'b', ...vip('10.1.0.0', 16) }),
      at({ namespace: 'c', canonical: true, ...vip('10.1.0.0', 16) }),
      at({ namespace: 'hidden', visibility: 1, ...vip('10.1.0.0', 24) }),
    )
    expect(namespaceOf(store, '10.1.0.9', 'x')).toBe('c')
    expect(namespaceOf(store, '10.1.0.9', 'b')).toBe('b')
    expect(namespaceOf(store, '10.1.0.9', 'wide')).toBe('wide')
    expect(namespaceOf(store, '10.1.0.9', 'hidden')).toBe('hidden')
    store.applyAddresses([], ['c/c.example'])
    expect(namespaceOf(store, '10.1.0.9', 'x')).toBe('b')
    store.applyAddresses([], ['b/b.example'])
    expect(namespaceOf(store, '10.1.0.9', 'x')).toBe('wide')
  })

  test('a service leaves its old address and name', () => {
    const store = storeOf(serviceResource({ name: 'web', ...vip('10.1.0.1') }))
    store.applyAddresses([serviceResource({ name: 'web', ...vip('10.1.0.2') })], [])
    expect(store.serviceByAddress('', '10.1.0.1', 'x')).toBeUndefined()
    expect(store.serviceByAddress('', '10.1.0.2', 'x')).toBe(store.serviceByKey(KEY))
    store.applyAddresses([], [KEY])
    expect(store.serviceByKey(KEY)).toBeUndefined()
    expect(store.serviceByHostname('web.default.svc.cluster.local', 'default')).toBeUndefined()
    expect(store.serviceByAddress('', '10.1.0.2', 'x')).toBeUndefined()
  })
})

describe('endpoints', () => {
  const names = (store: MeshStore): string[] => {
    const service = store.serviceByKey(KEY)
    if (service === undefined) throw new Error('no service')
    return store.endpointsOf(service).map(({ workload }) => workload.name)
  }

  test('wait for their service, which may come later', () => {
    const store = storeOf(workloadResource({ name: 'a', services: member }))
    expect(store.dump().stagedServices).toMatchObject({
      [KEY]: { [uidOf('a')]: { workloadUid: uidOf('a'), port: { 80: 8080 } } },
    })
    store.applyAddresses([serviceResource({ name: 'web' })], [])
    expect(names(store)).toEqual(['a'])
    expect(store.dump().stagedServices).toEqual({})
    store.applyAddresses([], [KEY, uidOf('a')])
    expect(store.dump().stagedServices).toEqual({})
  })

  test('follow health and the health policy, both ways', () => {
    const store = storeOf(
      serviceResource({ name: 'web' }),
      workloadResource({ name: 'a', services: member }),
      workloadResource({ name: 'b', services: member, status: 1 }),
    )
    expect(names(store)).toEqual(['a'])
    store.applyAddresses([serviceResource({ name: 'web', loadBalancing: { healthPolicy: 1 } })], [])
    expect(names(store)).toEqual(['a', 'b'])
    store.applyAddresses([serviceResource({ name: 'web' })], [])
    expect(names(store)).toEqual(['a'])
    store.applyAddresses([workloadResource({ name: 'b', services: member })], [uidOf('a')])
    expect(names(store)).toEqual(['b'])
    store.applyAddresses([workloadResource({ name: 'b' })], [])
    expect(names(store)).toEqual([])
  })
})

describe('policies', () => {
  const pod = (given: object = {}) => workloadResource({ name: 'a', ...given })
  const sets = (store: MeshStore) => {
    const { policies, missing } = store.policiesFor(workload(store, 'a'))
    return { policies: policies.map(({ key }) => key), missing }
  }
  const badPort = { groups: [{ rules: [{ matches: [{ destinationPorts: [70_000] }] }] }] }

  test('are those of the mesh, of the namespace and the listed ones', () => {
    const store = storeOf(pod({ authorizationPolicies: ['x/listed', 'default/both', 'x/gone'] }))
    store.applyPolicies(
      [
        policyResource({ namespace: 'istio-system', name: 'mesh', scope: 0 }),
        policyResource({ name: 'namespace', scope: 1 }),
        policyResource({ name: 'both', scope: 1 }),
        policyResource({ namespace: 'x', name: 'foreign', scope: 1 }),
        policyResource({ namespace: 'x', name: 'listed', scope: 2 }),
        policyResource({ name: 'unlisted', scope: 2 }),
      ],
      [],
    )
    expect(sets(store)).toEqual({
      policies: ['istio-system/mesh', 'default/namespace', 'default/both', 'x/listed'],
      missing: ['x/gone'],
    })
    store.applyPolicies([], ['istio-system/mesh', 'x/listed', 'default/namespace'])
    expect(sets(store)).toEqual({ policies: ['default/both'], missing: ['x/listed', 'x/gone'] })
  })

  test('are one object a workload until something changes', () => {
    const store = storeOf(pod())
    const before = store.policiesFor(workload(store, 'a'))
    expect(store.policiesFor(workload(store, 'a'))).toBe(before)
    store.applyPolicies([policyResource({ name: 'p', scope: 1 })], [])
    expect(store.policiesFor(workload(store, 'a'))).not.toBe(before)
    store.applyAddresses([pod({ authorizationPolicies: ['x/y'] })], [])
    expect(sets(store).missing).toEqual(['x/y'])
  })

  test('move with their scope', () => {
    const store = storeOf(pod())
    store.applyPolicies([policyResource({ name: 'p', scope: 1 })], [])
    store.applyPolicies([policyResource({ name: 'p', scope: 2 })], [])
    expect(sets(store).policies).toEqual([])
  })

  const garbage = Uint8Array.from([0x0a, 0xff])
  const invalid: [string, { name: string; body: Uint8Array }, string[]][] = [
    ['mesh-wide', policyResource({ namespace: 'x', name: 'p', scope: 0, ...badPort }), ['x/p']],
    ['of the namespace', policyResource({ name: 'p', scope: 1, ...badPort }), ['default/p']],
    [
      'of another namespace',
      policyResource({ namespace: 'x', name: 'p', scope: 1, ...badPort }),
      [],
    ],
    ['by selector, not listed', policyResource({ name: 'p', scope: 2, ...badPort }), []],
    ['unreadable, in the namespace', { name: 'default/p', body: garbage }, ['default/p']],
    ['unreadable, in another namespace', { name: 'x/p', body: garbage }, []],
    [
      'unreadable, in the root namespace',
      { name: 'istio-system/p', body: garbage },
      ['istio-system/p'],
    ],
    ['unreadable, of no namespace', { name: 'p', body: garbage }, ['p']],
    ['of unknown scope', policyResource({ name: 'p', scope: 9 as 0 }), ['default/p']],
  ]
  test.for(invalid)('an invalid one denies where it may apply: %s', ([, resource, missing]) => {
    const store = storeOf(pod())
    expect(store.applyPolicies([resource], [])).toHaveLength(1)
    expect(sets(store)).toEqual({ policies: [], missing })
    store.applyPolicies([], [resource.name])
    expect(sets(store).missing).toEqual([])
  })

  test('an invalid one denies where it is listed', () => {
    const store = storeOf(pod({ authorizationPolicies: ['default/p'] }))
    store.applyPolicies([policyResource({ name: 'p', scope: 2, ...badPort })], [])
    const facts = {
      sourceIp: '10.0.0.1',
      sourceIdentity: undefined,
      destinationIp: '10.0.0.2',
      destinationPort: 80,
    }
    const decide = () => evaluate(store.policiesFor(workload(store, 'a')), facts).verdict
    expect(decide()).toBe('deny')
    store.applyPolicies([policyResource({ name: 'p', scope: 2, groups: [{}] })], [])
    expect(decide()).toBe('allow')
  })

  test('an invalid version leaves the last valid one in force', () => {
    const store = storeOf(pod())
    store.applyPolicies([policyResource({ name: 'p', scope: 1, action: 1 })], [])
    const rejected = store.applyPolicies([policyResource({ name: 'p', scope: 1, ...badPort })], [])
    expect(rejected).toEqual([
      {
        name: 'default/p',
        reason: 'groups[0].rules[0].matches[0].destination_ports: no port: 70000',
      },
    ])
    expect(sets(store)).toEqual({ policies: ['default/p'], missing: [] })
  })
})

test('listeners hear of each batch once, after it is applied, until they stop', () => {
  const store = new MeshStore()
  const heard: MeshChange[] = []
  const stop = store.onChange((change) => {
    heard.push(change)
    expect(store.dump().workloads).toHaveLength(1)
  })
  const pod = workloadResource({ name: 'a' })
  store.applyAddresses([pod, serviceResource({ name: 'web' })], ['unknown'])
  store.applyPolicies([policyResource({ name: 'p' })], ['default/q'])
  store.applyAddresses([workloadResource({ name: 'b', tunnelProtocol: 2 })], [])
  stop()
  store.applyAddresses([], [pod.name])
  const none = new Set()
  expect(heard).toEqual([
    { workloads: new Set([pod.name]), services: new Set([KEY]), policies: none },
    { workloads: none, services: none, policies: new Set(['default/p', 'default/q']) },
  ])
})

test('a name that becomes another kind of resource is only that', () => {
  const service = serviceResource({ name: 'web' })
  const store = storeOf(service, workloadResource({ uid: KEY, addresses: [ip('10.0.0.1')] }))
  expect([store.serviceByKey(KEY), store.workloadByUid(KEY)?.uid]).toEqual([undefined, KEY])
  store.applyAddresses([service], [])
  expect([store.serviceByKey(KEY)?.key, store.workloadByUid(KEY)]).toEqual([KEY, undefined])
})

test('the dump has the keys that istioctl reads', () => {
  const store = storeOf(
    serviceResource({
      name: 'web',
      addresses: [
        { network: 'n', address: ip('10.1.0.1') },
        { network: 'n', address: ip('10.2.0.0'), length: 16 },
      ],
      ports: [{ servicePort: 80, targetPort: 8080 }],
    }),
    workloadResource({
      name: 'a',
      addresses: [ip('10.0.0.1')],
      services: member,
      waypoint: {
        destination: { $case: 'hostname', value: { namespace: 'ns', hostname: 'way' } },
        hboneMtlsPort: 15_008,
      },
    }),
  )
  store.applyPolicies(
    [
      policyResource({
        name: 'p',
        scope: 2,
        action: 1,
        groups: [
          {
            rules: [
              {
                matches: [
                  {
                    notPrincipals: [{ matchType: { $case: 'presence', value: {} } }],
                    sourceIps: [{ address: ip('10.0.0.0'), length: 8 }],
                  },
                ],
              },
            ],
          },
        ],
      }),
    ],
    [],
  )
  expect(JSON.parse(JSON.stringify(store.dump()))).toMatchObject({
    workloads: [
      {
        uid: uidOf('a'),
        workloadIps: ['10.0.0.1'],
        protocol: 'HBONE',
        status: 'Healthy',
        waypoint: { destination: 'ns/way', hboneMtlsPort: 15_008 },
        services: [KEY],
        networkMode: 'Standard',
      },
    ],
    services: [
      {
        name: 'web',
        vips: ['n/10.1.0.1'],
        cidrVips: [{ cidr: '10.2.0.0/16', network: 'n' }],
        ports: { 80: 8080 },
        endpoints: {
          [uidOf('a')]: { workloadUid: uidOf('a'), service: KEY, port: { 80: 8080 } },
        },
        loadBalancer: { mode: 'Standard', routingPreferences: [], healthPolicy: 'OnlyHealthy' },
        visibility: 'Public',
      },
    ],
    policies: [
      {
        name: 'p',
        namespace: 'default',
        scope: 'WorkloadSelector',
        action: 'Deny',
        rules: [[[{ notPrincipals: [{ presence: {} }], sourceIps: ['10.0.0.0/8'] }]]],
      },
    ],
    stagedServices: {},
  })
})
