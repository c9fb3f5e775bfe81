import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Compiler } from '../../controlplane/compile/compiler.ts'
import { DEFAULT_MESH_OPTIONS } from '../../controlplane/compile/mesh-options.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../controlplane/compile/resource.ts'
import { put, remove } from '../../controlplane/compile/testing-objects.ts'
import { keyOf, type ObjectKind, refOf } from '../../controlplane/kinds/registry.ts'
import type { ObjectEvent } from '../../controlplane/source/events.ts'

/** Few names, labels and addresses, so that objects meet. */
const name = fc.constantFrom('a', 'b', 'c')
const namespace = fc.constantFrom('shop', 'bank', 'istio-system')
const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('x', 'y'), {
  maxKeys: 2,
})
const selector = fc.option(
  labels.map((matchLabels) => ({ matchLabels })),
  { nil: undefined },
)
const created = fc.constantFrom(undefined, '2020-01-01T00:00:00Z', '2021-01-01T00:00:00Z')
const common = fc.record({ namespace, labels, created })
const node = fc.constantFrom('n1', 'n2')
const mode = fc.constantFrom('UNSET', 'PERMISSIVE', 'STRICT', 'DISABLE')

const pod = fc
  .record({
    node,
    ip: fc.constantFrom(undefined, '10.0.0.1', '10.0.0.2'),
    phase: fc.constantFrom('Running', 'Pending', 'Succeeded'),
    uid: fc.constantFrom('u1', 'u2', undefined),
    host: fc.boolean(),
  })
  .map(({ node, ip, phase, uid, host }) => ({
    uid,
    spec: {
      nodeName: node,
      hostNetwork: host,
      containers: [{ ports: [{ name: 'web', containerPort: 8080 }] }],
    },
    status: { phase, podIP: ip },
  }))

const service = fc
  .record({
    selector: labels,
    clusterIP: fc.constantFrom(undefined, 'None', '10.96.0.1', '10.96.0.2'),
    targetPort: fc.constantFrom(80, 'web', 'nothing'),
    type: fc.constantFrom('ClusterIP', 'ExternalName'),
  })
  .map(({ targetPort, ...spec }) => ({ spec: { ...spec, ports: [{ port: 80, targetPort }] } }))

const serviceEntry = fc
  .record({
    hosts: fc.uniqueArray(
      fc.constantFrom('x.example.com', 'y.example.com', 'a.shop.svc.cluster.local'),
      { minLength: 1 },
    ),
    addresses: fc.constantFrom([], ['10.98.0.1'], ['10.98.0.0/24']),
    resolution: fc.constantFrom('STATIC', 'DNS', 'NONE'),
    members: fc.oneof(
      fc.constant({}),
      labels.map((one) => ({ workloadSelector: { labels: one } })),
    ),
  })
  .map(({ members, ...spec }) => ({
    spec: { ...spec, ...members, ports: [{ number: 80, name: 'web' }] },
  }))

const slice = fc
  .record({
    service: name,
    pod: fc.option(name, { nil: undefined }),
    uid: fc.constantFrom(undefined, 'u1'),
  })
  .map(({ service, pod, uid }) => ({
    labels: { 'kubernetes.io/service-name': service },
    addressType: 'IPv4',
    endpoints: [
      {
        addresses: ['192.0.2.1'],
        ...(pod === undefined ? {} : { targetRef: { kind: 'Pod', name: pod, uid } }),
      },
    ],
    ports: [{ port: 8080 }],
  }))

const policy = fc
  .record({ selector, action: fc.constantFrom('ALLOW', 'DENY', 'AUDIT') })
  .map((spec) => ({ spec: { ...spec, rules: [{ from: [{ source: { namespaces: ['n'] } }] }] } }))

const peer = fc
  .record({ selector, mode, port: fc.option(mode, { nil: undefined }) })
  .map(({ selector, mode, port }) => {
    const some = Object.keys(selector?.matchLabels ?? {}).length > 0
    return {
      spec: {
        selector,
        mtls: { mode },
        ...(some && port !== undefined ? { portLevelMtls: { 80: { mode: port } } } : {}),
      },
    }
  })

const bodies: readonly (readonly [ObjectKind, fc.Arbitrary<Record<string, unknown>>])[] = [
  ['Pod', pod],
  ['Service', service],
  ['ServiceEntry', serviceEntry],
  ['EndpointSlice', slice],
  ['AuthorizationPolicy', policy],
  ['PeerAuthentication', peer],
  ['WorkloadEntry', fc.constantFrom({ spec: { address: '10.3.0.1', ports: { web: 9000 } } })],
]

const placed = fc.oneof(
  ...bodies.map(([kind, body]) =>
    fc
      .tuple(name, common, body)
      .map(([name, common, body]): ObjectEvent => put(kind, name, { ...common, ...body })),
  ),
  fc
    .tuple(node, fc.constantFrom('z1', 'z2'))
    .map(([name, zone]) => put('Node', name, { labels: { 'topology.kubernetes.io/zone': zone } })),
  fc
    .tuple(
      namespace,
      fc.constantFrom(undefined, 'ambient'),
      fc.constantFrom(undefined, 'net'),
      fc.constantFrom('Any', 'PreferClose'),
    )
    .map(([name, mode, network, distribution]) =>
      put('Namespace', name, {
        labels: JSON.parse(
          JSON.stringify({ 'istio.io/dataplane-mode': mode, 'topology.istio.io/network': network }),
        ),
        annotations: { 'networking.istio.io/traffic-distribution': distribution },
      }),
    ),
)

const gone = fc.oneof(
  fc
    .tuple(fc.constantFrom(...bodies.map(([kind]) => kind)), name, namespace)
    .map((args) => remove(...args)),
  node.map((name) => remove('Node', name)),
  namespace.map((name) => remove('Namespace', name)),
)

type Step =
  | { readonly events: ObjectEvent[] }
  | { readonly uid: string; readonly captured: boolean }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .array(fc.oneof({ weight: 3, arbitrary: placed }, gone), { minLength: 1, maxLength: 4 })
      .map((events) => ({ events })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(namespace, name, fc.boolean()).map(([namespace, name, captured]) => ({
      uid: `Kubernetes//Pod/${namespace}/${name}`,
      captured,
    })),
  },
)

const snapshot = (compiler: Compiler): Map<string, string> =>
  new Map(
    [ADDRESS_TYPE, AUTHORIZATION_TYPE]
      .flatMap((type) => [...compiler.resources(type).values()])
      .map(({ name, version, aliases }): [string, string] => [
        name,
        `${version} ${aliases.join(' ')}`,
      ])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )

const reportsOf = (compiler: Compiler): string[] =>
  compiler
    .reports()
    .map((report) => JSON.stringify(report))
    .sort()

test('compiling step by step ends where compiling the final state does, and deltas tell the way', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
      const compiler = new Compiler(DEFAULT_MESH_OPTIONS)
      const objects = new Map<string, ObjectEvent>()
      const followed = new Map<string, string>()
      for (const step of steps) {
        const { delta } =
          'events' in step
            ? compiler.apply(step.events)
            : compiler.setCaptured(step.uid, step.captured)
        for (const { name } of delta.removed) expect(followed.delete(name)).toBe(true)
        for (const { name, version, aliases } of delta.changed) {
          const told = `${version} ${aliases.join(' ')}`
          expect(followed.get(name)).not.toBe(told)
          followed.set(name, told)
        }
        for (const event of 'events' in step ? step.events : []) {
          if (event.type === 'put') objects.set(keyOf(refOf(event.object)), event)
          else objects.delete(keyOf(event.ref))
        }
      }
      const state = { captured: compiler.captured(), vips: compiler.vipAssignments() }
      const fresh = new Compiler(DEFAULT_MESH_OPTIONS, state)
      fresh.apply([...objects.values()])
      const incremental = snapshot(compiler)
      expect(incremental).toEqual(snapshot(fresh))
      expect(new Map([...followed].sort(([a], [b]) => (a < b ? -1 : 1)))).toEqual(incremental)
      for (const node of ['n1', 'n2'])
        expect(compiler.wantedPods(node)).toEqual(fresh.wantedPods(node))
      expect(reportsOf(compiler)).toEqual(reportsOf(fresh))
    }),
    { numRuns: 1_000 },
  )
})
