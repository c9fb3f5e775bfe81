import { describe, expect, test } from 'vitest'
import type { Service, Workload } from '../../shared/mesh/model.ts'
import { testService, testWorkload } from '../../shared/mesh/testing-mesh.ts'
import {
  type InboundRoute,
  type PassthroughRoute,
  routeInbound,
  routeInboundPassthrough,
} from './inbound.ts'
import { viewOf } from './testing-view.ts'

const POD = '10.0.0.1'
const service = (name: string, ports: [number, number][] = [[80, 8080]]): Service =>
  testService({ name, hostname: `${name}.example`, ports: new Map(ports) })
const pod = (given: Partial<Workload> = {}): Workload =>
  testWorkload({
    name: 'pod',
    addresses: [POD],
    services: new Map([
      ['default/api.example', new Map()],
      ['default/web.example', new Map([[80, 8081]])],
      ['default/alias.example', new Map([[80, 8081]])],
      ['default/unknown.example', new Map([[80, 9999]])],
    ]),
    ...given,
  })
const services = [
  service('api'),
  service('web'),
  service('alias'),
  service('foreign'),
  service('self', [[80, 15_006]]),
  service('portless', [[80, 0]]),
]

function shown(route: InboundRoute | PassthroughRoute): string {
  switch (route.kind) {
    case 'refuse':
      return `${route.status} ${route.code}: ${route.error}`
    case 'deny':
      return `${route.flag} ${route.code}: ${route.error}`
    case 'forward': {
      const name = route.service === undefined ? '' : ` of ${route.service.name}`
      return `forward ${route.address}:${route.port}${name}`
    }
  }
}

function route(
  authority: string,
  given: {
    method?: string
    localAddress?: string
    local?: Workload | null
    host?: string
  } = {},
): string {
  return shown(
    routeInbound({
      authority,
      method: given.method ?? 'CONNECT',
      connection: { localAddress: given.localAddress ?? POD },
      localWorkload: given.local === null ? undefined : (given.local ?? pod()),
      mesh: viewOf([], services),
      forwardedHost: given.host,
    }),
  )
}

describe('a CONNECT', () => {
  const rows: [string, string, string][] = [
    [
      'method is not CONNECT',
      route(`${POD}:80`, { method: 'GET' }),
      '400 ROUTE_METHOD: expected method CONNECT, got GET',
    ],
    ['authority missing', route(''), '400 ROUTE_AUTHORITY: no valid authority pseudo header: '],
    [
      'authority without port',
      route('web.example'),
      '400 ROUTE_AUTHORITY: invalid CONNECT address web.example',
    ],
    [
      'authority that would break a log line',
      route('a\nb:1'),
      '400 ROUTE_AUTHORITY: invalid CONNECT address a?b:1',
    ],
    [
      'local workload unknown',
      route(`${POD}:80`, { local: null }),
      '503 ROUTE_UNKNOWN_LOCAL_WORKLOAD: failed to fetch information about local workload: 10.0.0.1',
    ],
    ['authority is the pod', route(`${POD}:1234`), `forward ${POD}:1234`],
    [
      'authority is the pod, local address as a dual-stack socket says it',
      route(`${POD}:1234`, { localAddress: `::ffff:${POD}` }),
      `forward ${POD}:1234`,
    ],
    [
      'authority is the pod in IPv6',
      route('[FD00::0:1]:1234', { localAddress: 'fd00::1' }),
      'forward fd00::1:1234',
    ],
    [
      'authority is another address',
      route('10.0.0.2:80'),
      '400 ROUTE_IP_MISMATCH: ip mismatch: 10.0.0.1 != 10.0.0.2',
    ],
    [
      'authority is loopback',
      route('127.0.0.1:80'),
      '400 ROUTE_IP_MISMATCH: ip mismatch: 10.0.0.1 != 127.0.0.1',
    ],
    ...[15_001, 15_006, 15_008, 15_080].map((port): [string, string, string] => [
      `port ${port} is ours`,
      route(`${POD}:${port}`),
      '503 ROUTE_SELF_CALL: attempted recursive call to ourselves',
    ]),
    [
      'application tunnel, any authority',
      route('10.0.0.2:80', { local: pod({ applicationTunnel: { protocol: 'PROXY', port: 0 } }) }),
      '503 ROUTE_APPLICATION_TUNNEL_UNSUPPORTED: application tunnels are not supported yet: workload default/pod has one',
    ],
    [
      'hostname: the own mapping decides the port',
      route('Web.Example:80'),
      `forward ${POD}:8081 of web`,
    ],
    ['hostname: else the service', route('api.example:80'), `forward ${POD}:8080 of api`],
    [
      'hostname unknown',
      route('nowhere.example:80'),
      '503 ROUTE_NO_SERVICE: no service for target address: nowhere.example:80',
    ],
    [
      'hostname without such a port',
      route('web.example:81'),
      '503 ROUTE_NO_PORT: no port for service: web.example:81',
    ],
    [
      'hostname with an unknown target port',
      route('portless.example:80'),
      '503 ROUTE_NO_PORT: no port for service: portless.example:80',
    ],
    [
      'hostname whose target port is ours, found after resolution',
      route('self.example:80'),
      '503 ROUTE_SELF_CALL: attempted recursive call to ourselves',
    ],
    [
      'service: the first whose target port it is',
      route(`${POD}:8081`),
      `forward ${POD}:8081 of web`,
    ],
    [
      'service: the one that was named',
      route(`${POD}:8081`, { host: 'alias.example' }),
      `forward ${POD}:8081 of alias`,
    ],
    [
      'service: one named that is not ours does not count',
      route(`${POD}:8080`, { host: 'foreign.example' }),
      `forward ${POD}:8080 of api`,
    ],
  ]
  test.for(rows)('%s', ([, actual, expected]) => {
    expect(actual).toBe(expected)
  })
})

describe('a plaintext connection', () => {
  const caller = testWorkload({ name: 'caller', addresses: ['10.0.0.7'] })
  const plain = (port: number, local: Workload | undefined = pod(), sourceAddress = '10.0.0.7') =>
    routeInboundPassthrough({
      destination: { address: POD, port },
      sourceAddress,
      network: '',
      localWorkload: local,
      mesh: viewOf([caller], services),
    })

  test('goes where it was going, with what is known about it', () => {
    expect(shown(plain(8080))).toBe(`forward ${POD}:8080 of api`)
    expect(plain(8080)).toMatchObject({ source: caller })
    expect(plain(8080, pod(), '::ffff:10.0.0.7')).toMatchObject({ source: caller })
    expect(plain(8080, pod(), '10.0.0.8')).toMatchObject({ kind: 'forward', source: undefined })
  })

  test('to a port of ours is denied', () => {
    expect(shown(plain(15_006))).toBe(
      'CONNECT ROUTE_SELF_CALL: attempted recursive call to ourselves',
    )
  })

  test('to an unknown pod is denied', () => {
    const route = routeInboundPassthrough({
      destination: { address: POD, port: 80 },
      sourceAddress: '10.0.0.7',
      network: '',
      localWorkload: undefined,
      mesh: viewOf([]),
    })
    expect(shown(route)).toBe(
      'CONNECT ROUTE_UNKNOWN_LOCAL_WORKLOAD: failed to fetch information about local workload: 10.0.0.1:80',
    )
  })
})
