import { describe, expect, test } from 'vitest'
import type { Endpoint, LoadBalancing, Scope, Workload } from '../../shared/mesh/model.ts'
import { testService, testWorkload } from '../../shared/mesh/testing-mesh.ts'
import { rankOf, selectEndpoint, targetPortOf } from './balance.ts'

const source = testWorkload({
  name: 'source',
  network: 'n',
  node: 'node',
  clusterId: 'c',
  locality: { region: 'r', zone: 'z', subzone: 's' },
})
const near = (given: Partial<Workload>): Workload =>
  testWorkload({ ...source, addresses: ['10.0.0.1'], ...given })
const at = (region: string, zone: string, subzone = 's') => ({
  locality: { region, zone, subzone },
})

describe('rank', () => {
  const plain: Scope[] = ['REGION', 'ZONE', 'SUBZONE']
  const network: Scope[] = ['NETWORK', 'REGION', 'ZONE']
  const rows: [string, Scope[], Partial<Workload>, number][] = [
    ['all of three', plain, {}, 3],
    ['region and zone', plain, at('r', 'z', 'x'), 2],
    ['region', plain, at('r', 'x'), 1],
    ['stops at the first mismatch', plain, at('x', 'z'), 0],
    ['network first: all', network, {}, 5],
    ['network first: network and region', network, at('r', 'x'), 4],
    ['network first: network', network, at('x', 'z'), 3],
    ['network first: region and zone', network, { network: 'm' }, 2],
    ['network first: region', network, { network: 'm', ...at('r', 'x') }, 1],
    ['network first: none', network, { network: 'm', ...at('x', 'z') }, 0],
    ['network later is like any other', ['REGION', 'NETWORK'], { network: 'm' }, 1],
    ['node and cluster', ['NODE', 'CLUSTER'], {}, 2],
    ['another node', ['NODE', 'CLUSTER'], { node: 'x' }, 0],
    ['another cluster', ['NODE', 'CLUSTER'], { clusterId: 'x' }, 1],
    ['no preferences', [], {}, 0],
  ]
  test.for(rows)('%s', ([, preferences, given, rank]) => {
    expect(rankOf(source, near(given), preferences)).toBe(rank)
  })
})

describe('target port', () => {
  const rows: [
    string,
    [number, number][],
    [number, number][],
    number | undefined,
    number | undefined,
  ][] = [
    ['the endpoint decides', [[80, 1]], [[80, 2]], undefined, 1],
    ['else the service', [], [[80, 2]], undefined, 2],
    ['0 at the endpoint is none', [[80, 0]], [[80, 2]], undefined, 2],
    ['the endpoint, if the service does not know', [[80, 1]], [[80, 0]], undefined, 1],
    ['neither knows', [], [[80, 0]], undefined, undefined],
    ['neither knows, an application tunnel with port', [], [[80, 0]], 15_088, 80],
    ['neither knows, an application tunnel without', [], [[80, 0]], 0, undefined],
    ['the tunnel comes last', [], [[80, 2]], 15_088, 2],
  ]
  test.for(rows)('%s', ([, own, ports, tunnel, expected]) => {
    const applicationTunnel =
      tunnel === undefined ? undefined : ({ protocol: 'PROXY', port: tunnel } as const)
    const endpoint = { workload: near({ applicationTunnel }), ports: new Map(own) }
    expect(targetPortOf(endpoint, testService({ ports: new Map(ports) }), 80)).toBe(expected)
  })
})

describe('selection', () => {
  const endpoint = (name: string, given: Partial<Workload> = {}, port = 8080): Endpoint => ({
    workload: near({ name, ...given }),
    ports: new Map([[80, port]]),
  })
  const serviceOf = (loadBalancing: Partial<LoadBalancing>) =>
    testService({
      ports: new Map([[80, 0]]),
      loadBalancing: {
        mode: 'STANDARD',
        routingPreference: ['REGION', 'ZONE'],
        healthPolicy: 'ONLY_HEALTHY',
        ...loadBalancing,
      },
    })
  /** Everyone who can be chosen, by sweeping the random number. */
  const choices = (mode: LoadBalancing['mode'], endpoints: Endpoint[], port = 80): string[] => {
    const found = new Set<string>()
    for (let step = 0; step < 100; step++) {
      const service = serviceOf({ mode })
      const random = () => step / 100
      const chosen = selectEndpoint({ source, service, port, endpoints, random })
      found.add(chosen === undefined ? 'none' : `${chosen.workload.name}:${chosen.port}`)
    }
    return [...found]
  }
  const spread = [
    endpoint('zone'),
    endpoint('region', at('r', 'x')),
    endpoint('far', at('x', 'x')),
    endpoint('zone-2'),
  ]
  const rows: [string, LoadBalancing['mode'], Endpoint[], string[]][] = [
    [
      'STANDARD takes all',
      'STANDARD',
      spread,
      ['zone:8080', 'region:8080', 'far:8080', 'zone-2:8080'],
    ],
    ['STRICT takes those that match all', 'STRICT', spread, ['zone:8080', 'zone-2:8080']],
    ['STRICT takes none rather than others', 'STRICT', [endpoint('far', at('x', 'x'))], ['none']],
    ['FAILOVER takes the best group', 'FAILOVER', spread, ['zone:8080', 'zone-2:8080']],
    ['FAILOVER takes the next group', 'FAILOVER', spread.slice(1, 3), ['region:8080']],
    ['FAILOVER takes the last group', 'FAILOVER', spread.slice(2, 3), ['far:8080']],
    [
      'an endpoint that does not serve the port is no group',
      'FAILOVER',
      [endpoint('zone', {}, 0), endpoint('far', at('x', 'x'))],
      ['far:8080'],
    ],
    ['no endpoints', 'STANDARD', [], ['none']],
    [
      'capacity 0 is never chosen',
      'STANDARD',
      [endpoint('a', { capacity: 0 }), endpoint('b')],
      ['b:8080'],
    ],
    ['all of capacity 0', 'STANDARD', [endpoint('a', { capacity: 0 })], ['none']],
    [
      'an endpoint without address or name is not reachable',
      'STANDARD',
      [endpoint('a', { addresses: [] })],
      ['none'],
    ],
    [
      'nor on another network without gateway',
      'STANDARD',
      [endpoint('a', { addresses: [], network: 'm' })],
      ['none'],
    ],
    [
      'but on another network with gateway',
      'STANDARD',
      [
        endpoint('a', {
          addresses: [],
          network: 'm',
          networkGateway: { kind: 'address', network: 'm', address: '1.1.1.1', hboneMtlsPort: 1 },
        }),
      ],
      ['a:8080'],
    ],
    ['or by name', 'STANDARD', [endpoint('a', { addresses: [], hostname: 'x' })], ['a:8080']],
  ]
  test.for(rows)('%s', ([, mode, endpoints, expected]) => {
    expect(choices(mode, endpoints)).toEqual(expected)
  })

  test('a port that the service does not have has no endpoints', () => {
    expect(choices('STANDARD', [{ ...endpoint('a'), ports: new Map([[81, 1]]) }], 81)).toEqual([
      'none',
    ])
  })

  test('is in proportion to capacity', () => {
    const endpoints = [endpoint('a', { capacity: 1 }), endpoint('b', { capacity: 3 })]
    const picks = [0, 0.24, 0.25, 0.5, 0.999].map(
      (value) =>
        selectEndpoint({ source, service: serviceOf({}), port: 80, endpoints, random: () => value })
          ?.workload.name,
    )
    expect(picks).toEqual(['a', 'a', 'b', 'b', 'b'])
  })
})
