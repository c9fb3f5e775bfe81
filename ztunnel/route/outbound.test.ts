import { describe, expect, test } from 'vitest'
import type { GatewayAddress, Service, Workload } from '../../shared/mesh/model.ts'
import { testService, testWorkload } from '../../shared/mesh/testing-mesh.ts'
import { type OutboundRoute, routeOutbound } from './outbound.ts'
import { isRecursiveCall } from './own-ports.ts'
import { viewOf } from './testing-view.ts'

const source = testWorkload({ name: 'source', addresses: ['10.0.0.9'] })
const POD = '10.0.0.1'
const VIP = '10.1.0.1'
const gateway: GatewayAddress = {
  kind: 'hostname',
  namespace: 'ns',
  hostname: 'way',
  hboneMtlsPort: 15_008,
}
const web = (given: Partial<Service> = {}): Service =>
  testService({
    name: 'web',
    addresses: [{ network: '', address: VIP, length: undefined }],
    ports: new Map([[80, 8080]]),
    ...given,
  })
const balancing = (mode: Service['loadBalancing']['mode']): Partial<Service> => ({
  loadBalancing: { mode, routingPreference: [], healthPolicy: 'ONLY_HEALTHY' },
})
const pod = (given: Partial<Workload> = {}): Workload =>
  testWorkload({ name: 'pod', serviceAccount: 'sa', addresses: [POD], ...given })
const member = (given: Partial<Workload> = {}): Workload =>
  pod({ services: new Map([[web().key, new Map()]]), ...given })
const IDENTITY = 'spiffe://cluster.local/ns/default/sa/sa'

/** A route as one line, with what tells it from others. */
function shown(route: OutboundRoute): string {
  const service = route.service === undefined ? '' : ` of ${route.service.name}`
  switch (route.kind) {
    case 'deny':
      return `deny ${route.code} ${route.flag}: ${route.error}${service}`
    case 'hbone':
      return `hbone ${route.target.address}:${route.target.port} for ${route.authority} as ${route.expectedIdentities.join(',')}${service}`
    case 'plaintext':
    case 'passthrough':
      return `${route.kind} ${route.target.address}:${route.target.port}${service}`
  }
}

function route(
  destination: string,
  workloads: Workload[],
  services: Service[] = [],
  network = '',
): string {
  const colon = destination.lastIndexOf(':')
  return shown(
    routeOutbound({
      source,
      destination: {
        address: destination.slice(0, colon),
        port: Number(destination.slice(colon + 1)),
      },
      network,
      mesh: viewOf(workloads, services),
      random: () => 0,
    }),
  )
}

describe('the decision tree', () => {
  const rows: [string, string, string][] = [
    [
      'loop guard',
      route('127.0.0.1:15008', []),
      'deny ROUTE_SELF_CALL CONNECT: attempted recursive call to ourselves',
    ],
    ['loopback on another port', route('127.0.0.1:80', []), 'passthrough 127.0.0.1:80'],
    [
      'A: a workload wins over a service in telling what was addressed',
      route(`${POD}:80`, [pod({ waypoint: gateway })], []),
      'deny ROUTE_WAYPOINT_UNSUPPORTED CONNECT: waypoints are not supported yet: workload default/pod has one',
    ],
    [
      'A1: a service with a waypoint',
      route(`${VIP}:80`, [member()], [web({ waypoint: gateway })]),
      'deny ROUTE_WAYPOINT_UNSUPPORTED CONNECT: waypoints are not supported yet: service default/web.default.svc.cluster.local has one of web',
    ],
    [
      'A1: a service with weighted waypoints',
      route(
        `${VIP}:80`,
        [member()],
        [web({ weightedWaypoints: [{ destination: gateway, weight: 1 }] })],
      ),
      'deny ROUTE_WAYPOINT_UNSUPPORTED CONNECT: waypoints are not supported yet: service default/web.default.svc.cluster.local has one of web',
    ],
    [
      'A1: waypoints of weight zero are none',
      route(
        `${VIP}:80`,
        [member()],
        [web({ weightedWaypoints: [{ destination: gateway, weight: 0 }] })],
      ),
      `hbone ${POD}:15008 for ${POD}:8080 as ${IDENTITY} of web`,
    ],
    [
      'A2, B: a service with an endpoint',
      route(`${VIP}:80`, [member()], [web()]),
      `hbone ${POD}:15008 for ${POD}:8080 as ${IDENTITY} of web`,
    ],
    [
      'B: a service without endpoints',
      route(`${VIP}:80`, [], [web()]),
      'deny ROUTE_NO_HEALTHY_UPSTREAM CONNECT: no healthy upstream: 10.1.0.1:80 of web',
    ],
    [
      'B: a service that does not have the port',
      route(`${VIP}:81`, [member()], [web()]),
      'deny ROUTE_NO_HEALTHY_UPSTREAM CONNECT: no healthy upstream: 10.1.0.1:81 of web',
    ],
    [
      'B: a PASSTHROUGH service',
      route(`${VIP}:80`, [member()], [web(balancing('PASSTHROUGH'))]),
      `passthrough ${VIP}:80 of web`,
    ],
    ['B: nothing known', route('10.9.9.9:80', [pod()], [web()]), 'passthrough 10.9.9.9:80'],
    [
      'B: a service of the network of the node is not passed through on another network',
      route(
        `${VIP}:80`,
        [],
        [web({ addresses: [{ network: 'n', address: VIP, length: undefined }] })],
        'n',
      ),
      'deny ROUTE_NO_HEALTHY_UPSTREAM CONNECT: no healthy upstream: 10.1.0.1:80 of web',
    ],
    [
      'B: an address of a workload and of a service: the service chooses',
      route(
        `${POD}:80`,
        [pod(), member({ name: 'other', uid: 'o', addresses: ['10.0.0.2'] })],
        [web({ addresses: [{ network: '', address: POD, length: undefined }] })],
      ),
      `hbone 10.0.0.2:15008 for 10.0.0.2:8080 as ${IDENTITY} of web`,
    ],
    [
      'B: an address of a workload and of a service without endpoints is not passed through',
      route(
        `${POD}:80`,
        [pod()],
        [web({ addresses: [{ network: '', address: POD, length: undefined }] })],
      ),
      'deny ROUTE_NO_HEALTHY_UPSTREAM CONNECT: no healthy upstream: 10.0.0.1:80',
    ],
    [
      'B: a PASSTHROUGH service does not hide a workload',
      route(
        `${POD}:80`,
        [pod()],
        [
          web({
            addresses: [{ network: '', address: POD, length: undefined }],
            ...balancing('PASSTHROUGH'),
          }),
        ],
      ),
      `hbone ${POD}:15008 for ${POD}:80 as ${IDENTITY}`,
    ],
    [
      'B: a waypoint of a service that shares a workload address is not passed by',
      route(
        `${POD}:80`,
        [member()],
        [
          web({
            addresses: [{ network: '', address: POD, length: undefined }],
            waypoint: gateway,
          }),
        ],
      ),
      'deny ROUTE_WAYPOINT_UNSUPPORTED CONNECT: waypoints are not supported yet: service default/web.default.svc.cluster.local has one of web',
    ],
    [
      'C: another network, with gateway',
      route(`${VIP}:80`, [member({ network: 'm', networkGateway: gateway })], [web()]),
      'deny ROUTE_NETWORK_UNSUPPORTED CONNECT: other networks are not supported yet: workload default/pod is on network "m" of web',
    ],
    [
      'C: another network, without gateway',
      route(`${VIP}:80`, [member({ network: 'm' })], [web()]),
      'deny ROUTE_NO_GATEWAY CONNECT: no gateway address: default/pod of web',
    ],
    [
      'D: a workload with a waypoint, addressed as a workload',
      route(`${POD}:80`, [pod({ waypoint: gateway })]),
      'deny ROUTE_WAYPOINT_UNSUPPORTED CONNECT: waypoints are not supported yet: workload default/pod has one',
    ],
    [
      'D: a workload with a waypoint, addressed by a service without',
      route(`${VIP}:80`, [member({ waypoint: gateway })], [web()]),
      `hbone ${POD}:15008 for ${POD}:8080 as ${IDENTITY} of web`,
    ],
    [
      'E: an HBONE workload',
      route(`${POD}:80`, [pod()]),
      `hbone ${POD}:15008 for ${POD}:80 as ${IDENTITY}`,
    ],
    [
      'E: a plain workload',
      route(`${POD}:80`, [pod({ tunnelProtocol: 'NONE' })]),
      `plaintext ${POD}:80`,
    ],
    [
      'E: a plain workload of a service',
      route(`${VIP}:80`, [member({ tunnelProtocol: 'NONE' })], [web()]),
      `plaintext ${POD}:8080 of web`,
    ],
    [
      'E: a native tunnel is an HBONE workload like any other',
      route(`${POD}:80`, [pod({ nativeTunnel: true })]),
      `hbone ${POD}:15008 for ${POD}:80 as ${IDENTITY}`,
    ],
    [
      'E: names of the service that are SPIFFE identities are accepted too',
      route(
        `${VIP}:80`,
        [member()],
        [web({ subjectAltNames: ['spiffe://td/ns/a/sa/b', 'example.org', IDENTITY] })],
      ),
      `hbone ${POD}:15008 for ${POD}:8080 as spiffe://td/ns/a/sa/b,${IDENTITY} of web`,
    ],
    [
      'E: an application tunnel',
      route(`${POD}:80`, [pod({ applicationTunnel: { protocol: 'NONE', port: 1 } })]),
      'deny ROUTE_APPLICATION_TUNNEL_UNSUPPORTED CONNECT: application tunnels are not supported yet: workload default/pod has one',
    ],
    [
      'E: found by DNS',
      route(`${VIP}:80`, [member({ addresses: [], hostname: 'db.example' })], [web()]),
      'deny ROUTE_DNS_UNSUPPORTED CONNECT: workloads that are found by DNS are not supported yet: default/pod is db.example of web',
    ],
    [
      'E: no address of a family that the service has',
      route(`${VIP}:80`, [member()], [web({ ipFamilies: 'IPV6_ONLY' })]),
      'deny ROUTE_NO_ENDPOINTS CONNECT: no endpoints for workload: default/pod of web',
    ],
  ]
  test.for(rows)('%s', ([, actual, expected]) => {
    expect(actual).toBe(expected)
  })

  test('C: another network, addressed as a workload', () => {
    const far = pod({ network: 'm' })
    const mesh = { ...viewOf([]), workloadByAddress: () => far }
    const destination = { address: POD, port: 80 }
    expect(shown(routeOutbound({ source, destination, network: '', mesh, random: () => 0 }))).toBe(
      'deny ROUTE_NO_SERVICE CONNECT: no service for target address: 10.0.0.1:80',
    )
  })
})

test('an address that only a refused resource claims is denied, not passed through', () => {
  const mesh = { ...viewOf([]), isRefused: () => true }
  const source = testWorkload({ name: 'client' })
  const destination = { address: '10.0.0.9', port: 80 }
  expect(routeOutbound({ source, destination, network: '', mesh, random: () => 0 })).toMatchObject({
    kind: 'deny',
    code: 'ROUTE_INVALID_WORKLOAD',
  })
})

describe('the address of a workload', () => {
  const dual = ['10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2']
  const V6_VIP = 'fd01::1'
  const service = (ipFamilies: Service['ipFamilies']): Service =>
    web({
      ipFamilies,
      addresses: [VIP, V6_VIP].map((address) => ({ network: '', address, length: undefined })),
    })
  const rows: [string, string, string[], Service['ipFamilies'], string][] = [
    ['the one that was dialled', 'fd00::2', dual, 'AUTOMATIC', 'fd00::2'],
    ["the caller's family, v4", VIP, dual.toReversed(), 'AUTOMATIC', '10.0.0.2'],
    ["the caller's family, v6", V6_VIP, dual, 'DUAL', 'fd00::1'],
    ["not the caller's family, if the service has it not", V6_VIP, dual, 'IPV4_ONLY', '10.0.0.1'],
    ["not the caller's family, if the service has it not (v6)", VIP, dual, 'IPV6_ONLY', 'fd00::1'],
    ['the other family, if there is no other', VIP, ['fd00::1'], 'AUTOMATIC', 'fd00::1'],
  ]
  test.for(rows)('%s', ([, destination, addresses, families, expected]) => {
    const mesh = viewOf([member({ addresses })], [service(families)])
    const found = routeOutbound({
      source,
      destination: { address: destination, port: 80 },
      network: '',
      mesh,
      random: () => 0,
      hbonePort: 25_008,
    })
    expect(found).toMatchObject({ kind: 'hbone', target: { address: expected, port: 25_008 } })
  })

  test('in IPv6 is bracketed in the authority', () => {
    expect(route('fd00::1:80', [pod({ addresses: ['fd00::1'] })])).toBe(
      `hbone fd00::1:15008 for [fd00::1]:80 as ${IDENTITY}`,
    )
  })
})

test.for([
  ['127.0.0.1', 15_001, true],
  ['127.1.2.3', 15_006, true],
  ['::1', 15_008, true],
  ['::1', 15_080, true],
  ['127.0.0.1', 15_000, false],
  ['10.0.0.1', 15_008, false],
] as const)('a call to %s port %i is recursive: %s', ([address, port, expected]) => {
  expect(isRecursiveCall({ address, port })).toBe(expected)
})
