import { describe, expect, test } from 'vitest'
import { testWorkload } from '../../shared/mesh/testing-mesh.ts'
import { parseAuthority } from './authority.ts'
import {
  createTraceparent,
  formatBaggage,
  formatForwarded,
  formatTraceparent,
  parseBaggage,
  parseForwardedHost,
  parseTraceparent,
} from './headers.ts'

describe('authority', () => {
  test.for([
    ['10.0.0.1:80', { kind: 'address', address: '10.0.0.1', port: 80 }],
    ['[::FFFF:10.0.0.1]:65535', { kind: 'address', address: '10.0.0.1', port: 65_535 }],
    ['[fd00::0:1]:1', { kind: 'address', address: 'fd00::1', port: 1 }],
    ['Web.example:80', { kind: 'hostname', hostname: 'web.example', port: 80 }],
    ['a_b-c.1.x:80', { kind: 'hostname', hostname: 'a_b-c.1.x', port: 80 }],
  ] as const)('%s', ([text, expected]) => {
    expect(parseAuthority(text)).toEqual(expected)
  })

  test.for([
    '',
    ':80',
    '10.0.0.1',
    '10.0.0.1:',
    '10.0.0.1:0',
    '10.0.0.1:080',
    '10.0.0.1:65536',
    '10.0.0.1:+80',
    '10.0.0.1:80 ',
    ' 10.0.0.1:80',
    '10.0.0.256:80',
    '10.0.1:80',
    '1234:80',
    'fd00::1:80',
    '[fd00::1]',
    '[fd00::1]80',
    '[fd00::1:80',
    'fd00::1]:80',
    '[10.0.0.1]:80',
    '[fe80::1%eth0]:80',
    'user@host:80',
    'http://host:80',
    'host:80/path',
    '-a.example:80',
    'a-.example:80',
    'a..example:80',
    'a.example.:80',
    'ä.example:80',
    'host\n:80',
    `${'a'.repeat(64)}.example:80`,
    `${'a.'.repeat(127)}a:80`,
  ])('refuses %j', (text) => {
    expect(parseAuthority(text)).toBeUndefined()
  })
})

describe('forwarded', () => {
  test('names the client and the service', () => {
    expect(formatForwarded('10.0.0.1:1', 'web.example')).toBe('for="10.0.0.1:1";host=web.example')
    expect(formatForwarded('[fd00::1]:1', undefined)).toBe('for="[fd00::1]:1"')
  })

  test('leaves out a name that would break it', () => {
    expect(formatForwarded('1.1.1.1:1', 'a;for=b\r\n')).toBe('for="1.1.1.1:1"')
  })

  test.for([
    ['for="10.0.0.1:1";host=web.example', 'web.example'],
    ['host="web.example"', 'web.example'],
    ['for=x; host=a;host=b', 'a'],
    ['for=x', undefined],
    ['host=', undefined],
    ['host=""', undefined],
    ['xhost=a', undefined],
    ['for=ä;host=a', undefined],
    ['', undefined],
    [`host=a;x=${'y'.repeat(8_192)}`, undefined],
    [undefined, undefined],
  ])('%j has the host %j', ([header, expected]) => {
    expect(parseForwardedHost(header)).toBe(expected)
  })
})

describe('baggage', () => {
  const workload = testWorkload({
    clusterId: 'c1',
    namespace: 'shop',
    workloadType: 'deployment',
    workloadName: 'web',
    canonicalName: 'web-canonical',
    canonicalRevision: 'v1',
    locality: { region: 'r', zone: 'z', subzone: 's' },
  })

  test('is written in the fixed order', () => {
    expect(formatBaggage(workload)).toBe(
      'k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web-canonical,service.version=v1,cloud.region=r,cloud.availability_zone=z',
    )
  })

  test('leaves out what is empty or cannot be written', () => {
    const text = formatBaggage({
      ...workload,
      clusterId: '',
      workloadName: 'a,service.name=b',
      canonicalName: 'ä',
      canonicalRevision: '',
      locality: { region: '', zone: '', subzone: '' },
    })
    expect(text).toBe('k8s.namespace.name=shop')
  })

  test('comes back', () => {
    expect(parseBaggage(formatBaggage(workload))).toEqual({
      clusterId: 'c1',
      namespace: 'shop',
      workloadType: 'deployment',
      workloadName: 'web',
      canonicalName: 'web-canonical',
      canonicalRevision: 'v1',
      region: 'r',
      zone: 'z',
    })
  })

  test('unknown keys, empty values and missing values are skipped, a second = cuts', () => {
    const baggage = parseBaggage('x=y, service.name=a=b ,service.version=,k8s.namespace.name,,=,')
    expect(Object.entries(baggage).filter(([, value]) => value !== undefined)).toEqual([
      ['canonicalName', 'a'],
    ])
    expect(Object.values(parseBaggage(undefined)).every((value) => value === undefined)).toBe(true)
  })
})

describe('traceparent', () => {
  const TRACE = '0af7651916cd43dd8448eb211c80319c'
  const PARENT = 'b7ad6b7169203331'

  test('is made from random bytes and comes back', () => {
    const made = createTraceparent(Buffer.from(TRACE + PARENT, 'hex'))
    expect(formatTraceparent(made)).toBe(`00-${TRACE}-${PARENT}-00`)
    expect(parseTraceparent(formatTraceparent(made))).toEqual({ traceId: TRACE, parentId: PARENT })
  })

  test('is valid even of zeros', () => {
    expect(parseTraceparent(formatTraceparent(createTraceparent(new Uint8Array(24))))).toBeDefined()
  })

  test.for([
    undefined,
    '',
    `00-${'0'.repeat(52)}`,
    `01-${TRACE}-${PARENT}-00`,
    `00-${TRACE.toUpperCase()}-${PARENT}-00`,
    `00-${'0'.repeat(32)}-${PARENT}-00`,
    `00-${TRACE}-${'0'.repeat(16)}-00`,
    `00-${TRACE}-${PARENT}-00-more`,
    `00-${TRACE}-${PARENT}`,
  ])('refuses %j', (header) => {
    expect(parseTraceparent(header)).toBeUndefined()
  })
})
