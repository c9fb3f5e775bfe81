import { describe, expect, test } from 'vitest'
import { Address } from '../proto/generated/workload.ts'
import { parseAddressResource } from './convert.ts'
import { serviceResource, workloadResource } from './testing-mesh.ts'

const parse = ({ name, body }: { name: string; body: Uint8Array }) =>
  parseAddressResource(name, body)
const bytes = (...values: number[]) => Buffer.from(values)

describe('a workload', () => {
  test('gets the defaults of the API', () => {
    const result = parse(workloadResource({ name: 'pod' }))
    expect(result).toEqual({
      kind: 'workload',
      workload: {
        uid: 'Kubernetes//Pod/default/pod',
        name: 'pod',
        namespace: 'default',
        serviceAccount: 'default',
        trustDomain: 'cluster.local',
        addresses: [],
        hostname: '',
        network: '',
        networkGateway: undefined,
        networkMode: 'STANDARD',
        node: '',
        clusterId: 'Kubernetes',
        tunnelProtocol: 'HBONE',
        nativeTunnel: false,
        applicationTunnel: undefined,
        waypoint: undefined,
        status: 'HEALTHY',
        canonicalName: '',
        canonicalRevision: '',
        workloadType: 'deployment',
        workloadName: '',
        locality: { region: '', zone: '', subzone: '' },
        services: new Map(),
        authorizationPolicies: [],
        capacity: 1,
      },
    })
  })

  test('carries every field', () => {
    const mapped = Buffer.from([...Buffer.alloc(10), 0xff, 0xff, 10, 0, 0, 1])
    const result = parse(
      workloadResource({
        name: 'pod',
        addresses: [bytes(10, 0, 0, 1), mapped, Buffer.from(`fd${'00'.repeat(14)}01`, 'hex')],
        trustDomain: 'td',
        serviceAccount: 'sa',
        network: 'n',
        networkMode: 1,
        clusterId: 'c',
        status: 1,
        workloadType: 3,
        capacity: 0,
        locality: { region: 'r', zone: 'z', subzone: 's' },
        applicationTunnel: { protocol: 1, port: 15_088 },
        services: { 'ns/host': { ports: [{ servicePort: 80, targetPort: 8080 }] } },
        authorizationPolicies: ['ns/p'],
        waypoint: {
          destination: { $case: 'hostname', value: { namespace: 'ns', hostname: 'way' } },
          hboneMtlsPort: 15_008,
        },
        networkGateway: {
          destination: { $case: 'address', value: { network: 'm', address: bytes(1, 2, 3, 4) } },
          hboneMtlsPort: 15_008,
        },
      }),
    )
    expect(result).toMatchObject({
      kind: 'workload',
      workload: {
        addresses: ['10.0.0.1', 'fd00::1'],
        trustDomain: 'td',
        serviceAccount: 'sa',
        network: 'n',
        networkMode: 'HOST_NETWORK',
        clusterId: 'c',
        status: 'UNHEALTHY',
        workloadType: 'job',
        capacity: 0,
        locality: { region: 'r', zone: 'z', subzone: 's' },
        applicationTunnel: { protocol: 'PROXY', port: 15_088 },
        services: new Map([['ns/host', new Map([[80, 8080]])]]),
        authorizationPolicies: ['ns/p'],
        waypoint: { kind: 'hostname', namespace: 'ns', hostname: 'way', hboneMtlsPort: 15_008 },
        networkGateway: {
          kind: 'address',
          network: 'm',
          address: '1.2.3.4',
          hboneMtlsPort: 15_008,
        },
      },
    })
  })

  test.for([
    [{ tunnelProtocol: 2 }, 'tunnel_protocol: unknown value 2'],
    [{ tunnelProtocol: -1 }, 'tunnel_protocol: unknown value -1'],
    [{ status: 7 as 0 }, 'status: unknown value 7'],
    [{ networkMode: 7 as 0 }, 'network_mode: unknown value 7'],
    [{ workloadType: 7 as 0 }, 'workload_type: unknown value 7'],
    [{ applicationTunnel: { protocol: 7 as 0 } }, 'application_tunnel.protocol: unknown value 7'],
    [{ applicationTunnel: { port: 65_536 } }, 'application_tunnel.port: no port: 65536'],
    [{ waypoint: { hboneMtlsPort: 15_008 } }, 'waypoint: no destination'],
    [{ networkGateway: {} }, 'network_gateway: no destination'],
    [{ addresses: [Buffer.alloc(5)] }, 'addresses[0]: an address of 5 bytes'],
    [{ services: { host: { ports: [] } } }, 'services["host"]: no namespace/hostname'],
    [
      { services: { 'ns/h': { ports: [{ servicePort: 1, targetPort: 65_536 }] } } },
      'services["ns/h"][0].target_port: no port: 65536',
    ],
  ] as const)('is refused: %j', ([given, error]) => {
    expect(parse(workloadResource({ name: 'pod', ...(given as object) }))).toMatchObject({
      kind: 'rejected',
      errors: [error],
    })
  })
})

describe('a service', () => {
  test('carries every field', () => {
    const result = parse(
      serviceResource({
        name: 'web',
        addresses: [
          { network: 'n', address: bytes(10, 0, 0, 1) },
          { network: 'n', address: bytes(10, 0, 0, 2), length: 32 },
          { network: '', address: bytes(10, 1, 0, 0), length: 16 },
        ],
        ports: [{ servicePort: 80, targetPort: 0 }],
        subjectAltNames: ['spiffe://a'],
        ipFamilies: 3,
        canonical: true,
        visibility: 1,
        loadBalancing: { mode: 2, routingPreference: [6, 1], healthPolicy: 1 },
        weightedWaypoints: [
          {
            weight: 3,
            destination: { destination: { $case: 'hostname', value: { hostname: 'way' } } },
          },
        ],
      }),
    )
    expect(result).toMatchObject({
      kind: 'service',
      service: {
        key: 'default/web.default.svc.cluster.local',
        addresses: [
          { network: 'n', address: '10.0.0.1', length: undefined },
          { network: 'n', address: '10.0.0.2', length: undefined },
          { network: '', address: '10.1.0.0', length: 16 },
        ],
        ports: new Map([[80, 0]]),
        subjectAltNames: ['spiffe://a'],
        ipFamilies: 'DUAL',
        canonical: true,
        visibility: 'NAMESPACE',
        loadBalancing: {
          mode: 'FAILOVER',
          routingPreference: ['NETWORK', 'REGION'],
          healthPolicy: 'ALLOW_ALL',
        },
        weightedWaypoints: [{ weight: 3, destination: { hostname: 'way' } }],
      },
    })
  })

  test('of an unknown visibility is public', () => {
    const result = parse(serviceResource({ name: 'web', visibility: 9 as 0 }))
    expect(result).toMatchObject({ kind: 'service', service: { visibility: 'PUBLIC' } })
  })

  test.for([
    [{ ipFamilies: 9 as 0 }, 'ip_families: unknown value 9'],
    [{ loadBalancing: { mode: 9 as 0 } }, 'load_balancing.mode: unknown value 9'],
    [{ loadBalancing: { healthPolicy: 9 as 0 } }, 'load_balancing.health_policy: unknown value 9'],
    [
      { loadBalancing: { routingPreference: [0] } },
      'load_balancing.routing_preference[0]: unknown value 0',
    ],
    [{ weightedWaypoints: [{ weight: 1 }] }, 'weighted_waypoints[0].destination: missing'],
    [{ waypoint: {} }, 'waypoint: no destination'],
    [{ addresses: [{ address: Buffer.alloc(1) }] }, 'addresses[0]: an address of 1 bytes'],
    [
      { addresses: [{ address: Buffer.alloc(4), length: 33 }] },
      'addresses[0].length: a prefix of 33 bits',
    ],
    [{ ports: [{ servicePort: 65_536 }] }, 'ports[0].service_port: no port: 65536'],
  ] as const)('is refused: %j', ([given, error]) => {
    expect(parse(serviceResource({ name: 'web', ...(given as object) }))).toMatchObject({
      kind: 'rejected',
      errors: [error],
    })
  })
})

test('a body under another name, without content or without sense is refused', () => {
  const { body } = workloadResource({ name: 'pod' })
  const cases = [
    parseAddressResource('other', body),
    parseAddressResource('x', Address.encode({ type: undefined }).finish()),
    parseAddressResource('x', Uint8Array.from([0x0a, 0xff])),
  ]
  expect(cases.map((one) => (one.kind === 'rejected' ? one.errors : one.kind))).toEqual([
    ['name: the body calls itself "Kubernetes//Pod/default/pod"'],
    ['neither a workload nor a service'],
    [expect.stringMatching(/^not an Address: /)],
  ])
})
