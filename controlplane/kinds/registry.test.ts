import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseObject } from './registry.ts'

const faultsOf = (text: string): string[] => {
  const parsed = parseObject(parse(text))
  return parsed.outcome === 'invalid'
    ? parsed.faults.map(({ path, reason }) => `${path}: ${reason}`)
    : []
}

const policy = (spec: string): string =>
  `{ apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: { name: p }, spec: ${spec} }`
const peer = (spec: string): string =>
  `{ apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: { name: p }, spec: ${spec} }`
const core = (kind: string, rest: string): string =>
  `{ apiVersion: v1, kind: ${kind}, metadata: { name: x }, ${rest} }`
const entry = (spec: string): string =>
  `{ apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: { name: x }, spec: ${spec} }`

describe('every served version', () => {
  test.for([
    'v1 Namespace',
    'v1 Node',
    'v1 ServiceAccount',
    'discovery.k8s.io/v1 EndpointSlice',
    'networking.istio.io/v1 ServiceEntry',
    'networking.istio.io/v1beta1 ServiceEntry',
    'networking.istio.io/v1alpha3 ServiceEntry',
    'networking.istio.io/v1 WorkloadEntry',
    'networking.istio.io/v1beta1 WorkloadEntry',
    'networking.istio.io/v1alpha3 WorkloadEntry',
    'security.istio.io/v1 AuthorizationPolicy',
    'security.istio.io/v1beta1 AuthorizationPolicy',
    'security.istio.io/v1 PeerAuthentication',
    'security.istio.io/v1beta1 PeerAuthentication',
  ])('%s', (type) => {
    const [apiVersion, kind] = type.split(' ')
    const spec = { hosts: ['a.example.com'], address: '10.0.0.1' }
    const rest = type.startsWith('security') ? {} : { spec, addressType: 'IPv4' }
    const parsed = parseObject({ apiVersion, kind, metadata: { name: 'x' }, ...rest })
    expect(parsed.outcome).toBe('object')
    if (parsed.outcome !== 'object') return
    const clusterWide = kind === 'Node' || kind === 'Namespace'
    expect(parsed.object.metadata.namespace).toBe(clusterWide ? '' : 'default')
  })

  test('a version that is not served is refused, not ignored', () => {
    const parsed = parseObject({
      apiVersion: 'security.istio.io/v1alpha1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'x', namespace: 'shop' },
    })
    expect(parsed).toMatchObject({
      outcome: 'invalid',
      ref: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'x' },
      faults: [{ path: 'apiVersion' }],
    })
  })

  test('the same kind of another group is not ours', () => {
    const parsed = parseObject({ apiVersion: 'serving.knative.dev/v1', kind: 'Service' })
    expect(parsed).toEqual({ outcome: 'unused', type: 'serving.knative.dev/v1 Service' })
  })
})

test('unknown fields and nulls, as kubectl prints them, are tolerated', () => {
  const parsed = parseObject(
    parse(`
      apiVersion: v1
      kind: Pod
      metadata: { name: x, creationTimestamp: null, managedFields: [{ manager: kubectl }], labels: null }
      spec: { containers: [{ name: a, image: b, resources: {} }], tolerations: [], nodeName: n }
      status: { podIPs: null, qosClass: BestEffort }`),
  )
  expect(parsed.outcome).toBe('object')
})

describe('what is refused, and where', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['[]', ': Invalid input'],
    ['{ kind: Pod }', 'apiVersion: Invalid input'],
    ['{ apiVersion: v1, kind: Pod, metadata: {}, spec: {} }', 'metadata.name: '],
    [
      '{ apiVersion: v1, kind: Pod, metadata: { name: A/b }, spec: {} }',
      'metadata.name: must be lower-case',
    ],
    [
      '{ apiVersion: v1, kind: Pod, metadata: { name: a, namespace: a.b }, spec: {} }',
      'metadata.namespace: ',
    ],
    [
      '{ apiVersion: v1, kind: Pod, metadata: { name: a, labels: { a: 1 } }, spec: {} }',
      'metadata.labels.a: ',
    ],
    [core('Pod', 'spec: {}, status: { podIP: 10.0.0.256 }'), 'status.podIP: not an IP address'],
    [
      core('Pod', 'spec: {}, status: { podIPs: [{ ip: 10.0.0.1 }, { ip: x }] }'),
      'status.podIPs[1].ip: not an IP address',
    ],
    [
      core('Pod', 'spec: { containers: [{ ports: [{ containerPort: 0 }] }] }'),
      'spec.containers[0].ports[0].containerPort: ',
    ],
    [
      core('Service', 'spec: { ports: [{ port: 80 }, { port: 81, name: a }] }'),
      'spec.ports[0].name: required',
    ],
    [core('Service', 'spec: { ports: [{ port: 70000 }] }'), 'spec.ports[0].port: '],
    [core('Service', 'spec: { clusterIP: nowhere }'), 'spec.clusterIP: not an IP address'],
    [entry('{ hosts: [] }'), 'spec.hosts: '],
    [
      entry('{ hosts: [a.example.com], addresses: [10.0.0.0/33] }'),
      'spec.addresses[0]: not an IP address or CIDR',
    ],
    [
      entry(
        '{ hosts: [a.example.com], resolution: STATIC, endpoints: [{ address: b.example.com }] }',
      ),
      'spec.endpoints[0].address: must be an IP address',
    ],
    [
      entry('{ hosts: [a.example.com], resolution: NONE, endpoints: [{ address: 10.0.0.1 }] }'),
      'spec.endpoints[0]: no endpoints',
    ],
    [
      entry(
        '{ hosts: [a.example.com], ports: [{ number: 80, name: a }, { number: 80, name: b }] }',
      ),
      'spec.ports[1].number: used twice',
    ],
    [
      '{ apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: { name: x }, addressType: IPv4, endpoints: [{ addresses: [x] }] }',
      'endpoints[0].addresses[0]: not an IP address',
    ],
    [peer('{ mtls: { mode: MAYBE } }'), 'spec.mtls.mode: '],
    [peer('{ mtsl: { mode: STRICT } }'), 'spec: unknown field mtsl'],
    [
      peer('{ portLevelMtls: { 80: { mode: STRICT } } }'),
      'spec.portLevelMtls: only together with a selector',
    ],
    [
      peer('{ selector: { matchLabels: { a: b } }, portLevelMtls: { 0: { mode: STRICT } } }'),
      'spec.portLevelMtls["0"]: not a port number',
    ],
    [policy('{ action: DENY }'), 'spec.rules: a DENY policy without rules'],
    [policy('{ action: REFUSE, rules: [{}] }'), 'spec.action: '],
    [policy('{ acton: DENY, rules: [{}] }'), 'spec: unknown field acton'],
    [policy('{ selector: { labels: { a: b } } }'), 'spec.selector: unknown field labels'],
    [
      policy('{ selector: {}, targetRefs: [{ kind: Gateway, name: x }] }'),
      'spec.selector: not together with',
    ],
    [policy('{ rules: [{ from: [] }] }'), 'spec.rules[0].from: must not be an empty list'],
    [
      policy('{ rules: [{ from: [{ source: {} }] }] }'),
      'spec.rules[0].from[0].source: names no condition',
    ],
    [
      policy('{ rules: [{ from: [{ source: { principal: [a] } }] }] }'),
      'spec.rules[0].from[0].source: unknown field principal',
    ],
    [
      policy('{ rules: [{ from: [{ source: { principals: [""] } }] }] }'),
      'spec.rules[0].from[0].source.principals[0]: must not be empty',
    ],
    [
      policy('{ rules: [{ from: [{ source: { ipBlocks: [10.0.0.0/8, 10.0.0/8] } }] }] }'),
      'spec.rules[0].from[0].source.ipBlocks[1]: not an IP address or CIDR',
    ],
    [
      policy('{ rules: [{ from: [{ source: { serviceAccounts: [a], namespaces: [b] } }] }] }'),
      'spec.rules[0].from[0].source.serviceAccounts: not together',
    ],
    [
      policy('{ rules: [{ from: [{ source: { serviceAccounts: ["a/*"] } }] }] }'),
      'spec.rules[0].from[0].source.serviceAccounts[0]: ',
    ],
    [
      policy('{ rules: [{ to: [{ operation: { ports: ["80", "http"] } }] }] }'),
      'spec.rules[0].to[0].operation.ports[1]: not a port number',
    ],
    [
      policy('{ rules: [{ to: [{ operation: { ports: [80] } }] }] }'),
      'spec.rules[0].to[0].operation.ports[0]: ',
    ],
    [
      policy('{ rules: [{ when: [{ key: source.ip }] }] }'),
      'spec.rules[0].when[0]: needs values or notValues',
    ],
    [policy('{ rules: [{ when: [{ values: [a] }] }] }'), 'spec.rules[0].when[0].key: '],
    [
      policy('{ rules: [{ when: [{ key: source.color, values: [a] }] }] }'),
      'spec.rules[0].when[0].key: unknown attribute',
    ],
    [
      policy('{ rules: [{ when: [{ key: destination.port, values: ["99999"] }] }] }'),
      'spec.rules[0].when[0].values[0]: not a port number',
    ],
  ]
  test.for(cases)('%s', ([text, fault]) => {
    expect(faultsOf(text).join('\n')).toContain(fault)
  })
})

test.for(['AUDIT', 'CUSTOM'])('the action %s is accepted', (action) => {
  expect(faultsOf(policy(`{ action: ${action}, rules: [{}] }`))).toEqual([])
})
