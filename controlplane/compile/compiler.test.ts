import { describe, expect, test } from 'vitest'
import { Address, TunnelProtocol } from '../../shared/proto/generated/workload.ts'
import type { ObjectEvent } from '../source/events.ts'
import { Compiler, type CompilerState } from './compiler.ts'
import { DEFAULT_MESH_OPTIONS } from './mesh-options.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from './resource.ts'
import { podFields, put, remove } from './testing-objects.ts'

const compilerOf = (events: ObjectEvent[], state: CompilerState = {}): Compiler => {
  const compiler = new Compiler(DEFAULT_MESH_OPTIONS, state)
  compiler.apply(events)
  return compiler
}

const uidOf = (name: string): string => `Kubernetes//Pod/shop/${name}`

function workloadIn(compiler: Compiler, name: string) {
  const body = compiler.resources(ADDRESS_TYPE).get(uidOf(name))?.body
  const type = body === undefined ? undefined : Address.decode(body).type
  return type?.$case === 'workload' ? type.value : undefined
}

const namesOf = (list: readonly { readonly name: string }[]): string[] =>
  list.map(({ name }) => name).sort()

describe('incremental compilation', () => {
  const world = (): ObjectEvent[] => [
    put('Namespace', 'shop', { labels: { 'istio.io/dataplane-mode': 'ambient' } }),
    put('PeerAuthentication', 'default', { spec: { mtls: { mode: 'STRICT' } } }),
    ...Array.from({ length: 20 }, (_, index) =>
      put('Service', `s${index}`, {
        spec: {
          selector: { app: `a${index}` },
          clusterIP: `10.96.0.${index}`,
          ports: [{ port: 80 }],
        },
      }),
    ),
    ...Array.from({ length: 20 }, (_, index) =>
      put('AuthorizationPolicy', `p${index}`, {
        spec: { selector: { matchLabels: { app: `a${index}` } }, rules: [{}] },
      }),
    ),
    ...Array.from({ length: 2_000 }, (_, index) =>
      put(
        'Pod',
        `p${index}`,
        podFields(`10.${index >> 8}.${index & 255}.1`, `n${index % 10}`, { app: `a${index % 20}` }),
      ),
    ),
  ]

  test('a changed pod among 2,000 recomputes that pod alone', () => {
    const compiler = compilerOf(world())
    const before = compiler.stats().recomputed
    const { delta } = compiler.apply([
      put('Pod', 'p7', podFields('10.99.0.1', 'n7', { app: 'a8' })),
    ])
    expect(compiler.stats().recomputed - before).toBe(1)
    expect(namesOf(delta.changed)).toEqual([uidOf('p7')])
    expect(delta.removed).toEqual([])
    expect(Object.keys(workloadIn(compiler, 'p7')?.services ?? {})).toEqual([
      'shop/s8.shop.svc.cluster.local',
    ])
  })

  test('a changed service recomputes what it selects, and shows only what became different', () => {
    const compiler = compilerOf(world())
    const before = compiler.stats().recomputed
    const fields = { selector: { app: 'a3' }, clusterIP: '10.96.0.3', ports: [{ port: 81 }] }
    const { delta } = compiler.apply([put('Service', 's3', { spec: fields })])
    expect(compiler.stats().recomputed - before).toBe(101)
    expect(delta.changed).toHaveLength(101)
    const again = compiler.apply([put('Service', 's3', { spec: fields, labels: { x: 'y' } })])
    expect(compiler.stats().recomputed - before).toBe(102)
    expect(again.delta).toEqual({ changed: [], removed: [] })
  })

  test('changed rules of a policy recompute no workload; a changed selector both sides', () => {
    const compiler = compilerOf(world())
    const before = compiler.stats().recomputed
    const rules = [{ to: [{ operation: { ports: ['80'] } }] }]
    const selector = { matchLabels: { app: 'a1' } }
    const { delta } = compiler.apply([
      put('AuthorizationPolicy', 'p1', { spec: { selector, rules } }),
    ])
    expect(namesOf(delta.changed)).toEqual(['shop/p1'])
    expect(compiler.stats().recomputed - before).toBe(1)
    const moved = compiler.apply([
      put('AuthorizationPolicy', 'p1', {
        spec: { selector: { matchLabels: { app: 'a2' } }, rules },
      }),
    ])
    expect(moved.delta.changed).toHaveLength(200)
  })

  test('what is gone is removed, once', () => {
    const compiler = compilerOf(world())
    const { delta } = compiler.apply([remove('Pod', 'p1'), remove('Pod', 'p1')])
    expect(delta).toEqual({ changed: [], removed: [{ typeUrl: ADDRESS_TYPE, name: uidOf('p1') }] })
    expect(compiler.resources(ADDRESS_TYPE).has(uidOf('p1'))).toBe(false)
  })

  test('a service name that moves from one object to another is changed, not removed', () => {
    const host = {
      hosts: ['x.example.com'],
      resolution: 'STATIC',
      ports: [{ number: 80, name: 'a' }],
    }
    const compiler = compilerOf([
      put('ServiceEntry', 'a', { spec: { ...host, addresses: ['10.1.1.1'] } }),
      put('ServiceEntry', 'b', { spec: { ...host, addresses: ['10.1.1.2'] } }),
    ])
    const { delta } = compiler.apply([remove('ServiceEntry', 'a')])
    expect(delta.removed).toEqual([])
    expect(delta.changed.map(({ aliases }) => aliases)).toEqual([['/10.1.1.2']])
  })

  test('the policy that denies plaintext exists as long as any PeerAuthentication does', () => {
    const compiler = compilerOf([put('Pod', 'a', podFields('10.0.0.1', 'n'))])
    const name = 'istio-system/istio_converted_static_strict'
    const { delta } = compiler.apply([put('PeerAuthentication', 'p', { spec: {} })])
    expect(namesOf(delta.changed)).toEqual([name])
    compiler.apply([remove('PeerAuthentication', 'p')])
    expect(compiler.resources(AUTHORIZATION_TYPE).size).toBe(0)
  })

  test('every policy that a workload refers to is there', () => {
    const modes = [undefined, 'UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT']
    for (const mesh of modes) {
      for (const namespace of modes) {
        for (const mode of modes) {
          for (const port of modes.slice(1)) {
            const compiler = compilerOf([
              put('Pod', 'a', podFields('10.0.0.1', 'n', { app: 'a' })),
              ...(mesh === undefined
                ? []
                : [
                    put('PeerAuthentication', 'm', {
                      namespace: 'istio-system',
                      spec: { mtls: { mode: mesh } },
                    }),
                  ]),
              ...(namespace === undefined
                ? []
                : [put('PeerAuthentication', 'n', { spec: { mtls: { mode: namespace } } })]),
              put('PeerAuthentication', 'w', {
                spec: {
                  selector: { matchLabels: { app: 'a' } },
                  ...(mode === undefined ? {} : { mtls: { mode } }),
                  portLevelMtls: { 80: { mode: port } },
                },
              }),
            ])
            const strict =
              [mode, namespace, mesh].find((one) => one !== undefined && one !== 'UNSET') ===
              'STRICT'
            const portStrict = port === 'UNSET' ? strict : port === 'STRICT'
            const names = workloadIn(compiler, 'a')?.authorizationPolicies ?? []
            expect(names.length).toBe(strict || portStrict ? 1 : 0)
            const known = compiler.resources(AUTHORIZATION_TYPE)
            expect(names.filter((one) => !known.has(one))).toEqual([])
          }
        }
      }
    }
  })
})

describe('capture', () => {
  const pod = (extra: Record<string, unknown> = {}): ObjectEvent =>
    put('Pod', 'a', { ...podFields('10.0.0.1', 'n1'), ...extra })

  test('a workload is HBONE from captured to released, whatever changes in between', () => {
    const compiler = compilerOf([pod()])
    expect(workloadIn(compiler, 'a')?.tunnelProtocol).toBe(TunnelProtocol.NONE)
    expect(namesOf(compiler.setCaptured(uidOf('a'), true).delta.changed)).toEqual([uidOf('a')])
    compiler.apply([pod({ labels: { 'istio.io/dataplane-mode': 'none' } })])
    expect(workloadIn(compiler, 'a')?.tunnelProtocol).toBe(TunnelProtocol.HBONE)
    compiler.setCaptured(uidOf('a'), false)
    expect(workloadIn(compiler, 'a')?.tunnelProtocol).toBe(TunnelProtocol.NONE)
  })

  test('it ends with the pod, and the caller is told', () => {
    const compiler = compilerOf([pod()])
    compiler.setCaptured(uidOf('a'), true)
    expect(compiler.apply([remove('Pod', 'a')]).capturedCleared).toEqual([uidOf('a')])
    compiler.apply([pod()])
    expect(workloadIn(compiler, 'a')?.tunnelProtocol).toBe(TunnelProtocol.NONE)
  })

  test.for([
    ['another uid', { uid: 'two' }],
    ['another node', { uid: 'one', spec: { nodeName: 'n2' } }],
  ] as const)('a pod of the same name with %s is another pod', ([, extra]) => {
    const compiler = compilerOf([pod({ uid: 'one' })])
    compiler.setCaptured(uidOf('a'), true)
    const result = compiler.apply([pod(extra)])
    expect(result.capturedCleared).toEqual([uidOf('a')])
    expect(result.nodesChanged.size).toBeGreaterThan(0)
  })

  test('it outlives a restart; of pods that went in the meantime it is dropped', () => {
    const compiler = compilerOf([pod()], { captured: [uidOf('a'), uidOf('gone')] })
    expect(workloadIn(compiler, 'a')?.tunnelProtocol).toBe(TunnelProtocol.HBONE)
    expect(compiler.dropUnknownCaptured()).toEqual([uidOf('gone')])
    expect([...compiler.captured()]).toEqual([uidOf('a')])
  })
})

describe('wanted pods', () => {
  const AMBIENT = { 'istio.io/dataplane-mode': 'ambient' }
  const NONE = { 'istio.io/dataplane-mode': 'none' }
  const cases = [
    { pod: {}, namespace: {}, wanted: 'released' },
    { pod: {}, namespace: AMBIENT, wanted: 'captured' },
    { pod: AMBIENT, namespace: {}, wanted: 'captured' },
    { pod: AMBIENT, namespace: NONE, wanted: 'captured' },
    { pod: NONE, namespace: AMBIENT, wanted: 'released' },
    { pod: AMBIENT, namespace: AMBIENT, name: 'kube-system', wanted: 'released' },
    {
      pod: AMBIENT,
      namespace: {},
      annotations: { 'sidecar.istio.io/status': '{}' },
      wanted: 'released',
    },
    { pod: AMBIENT, namespace: {}, spec: { hostNetwork: true }, wanted: undefined },
    {
      pod: AMBIENT,
      namespace: {},
      status: { phase: 'Failed', podIP: '10.0.0.1' },
      wanted: undefined,
    },
    { pod: AMBIENT, namespace: {}, status: { phase: 'Pending' }, wanted: undefined },
  ]

  test.for(cases)(
    '$pod in a namespace $namespace is $wanted',
    ({ pod, namespace, name = 'shop', annotations, spec, status, wanted }) => {
      const compiler = compilerOf([
        put('Namespace', name, { labels: namespace }),
        put('Pod', 'a', {
          namespace: name,
          labels: pod,
          annotations,
          spec: { nodeName: 'n1', serviceAccountName: 'sa', ...spec },
          status: status ?? { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] },
        }),
      ])
      expect(compiler.wantedPods('n2')).toEqual([])
      expect(compiler.wantedPods('n1')).toEqual(
        wanted === undefined
          ? []
          : [
              {
                uid: `Kubernetes//Pod/${name}/a`,
                namespace: name,
                name: 'a',
                serviceAccount: 'sa',
                addresses: ['10.0.0.1', 'fd00::1'],
                wanted,
                trustDomain: 'cluster.local',
              },
            ],
      )
    },
  )

  test('a node hears of changes in what is wanted of it, and of nothing else', () => {
    const compiler = compilerOf([
      put('Namespace', 'shop'),
      put('Pod', 'a', podFields('10.0.0.1', 'n1')),
      put('Pod', 'b', podFields('10.0.0.2', 'n2')),
    ])
    const nodes = (...events: ObjectEvent[]): string[] => [...compiler.apply(events).nodesChanged]
    expect(nodes(put('Pod', 'a', podFields('10.0.0.1', 'n1', { app: 'x' })))).toEqual([])
    expect(nodes(put('Pod', 'a', podFields('10.0.0.1', 'n1', AMBIENT)))).toEqual(['n1'])
    expect(nodes(put('Namespace', 'shop', { annotations: { a: 'b' } }))).toEqual([])
    expect(nodes(put('Namespace', 'shop', { labels: AMBIENT }))).toEqual(['n2'])
    expect(nodes(put('Pod', 'b', podFields('10.0.0.2', 'n3')))).toEqual(['n2', 'n3'])
    expect(nodes(remove('Namespace', 'shop'))).toEqual(['n3'])
    expect(nodes(put('Namespace', 'shop'))).toEqual([])
    expect(nodes(remove('Pod', 'b'))).toEqual(['n3'])
  })

  test('an identity is local to a node while one of its pods there is not finished', () => {
    const compiler = compilerOf([put('Pod', 'a', podFields('10.0.0.1', 'n1'))])
    const identity = { namespace: 'shop', serviceAccount: 'default' }
    expect(compiler.isLocalIdentity('n1', identity)).toBe(true)
    expect(compiler.isLocalIdentity('n2', identity)).toBe(false)
    expect(compiler.isLocalIdentity('n1', { ...identity, serviceAccount: 'other' })).toBe(false)
    expect(compiler.isLocalIdentity('n1', { ...identity, namespace: 'other' })).toBe(false)
    compiler.apply([put('Pod', 'a', { spec: { nodeName: 'n1' }, status: { phase: 'Succeeded' } })])
    expect(compiler.isLocalIdentity('n1', identity)).toBe(false)
  })
})
