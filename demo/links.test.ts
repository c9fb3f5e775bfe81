import { expect, test } from 'vitest'
import { type Link, nameOf, pairsOf, parseLinks } from './links.ts'

const end = (account: string, version?: string) => ({
  workload: account,
  namespace: 'shop',
  identity: `spiffe://cluster.local/ns/shop/sa/${account}`,
  ...(version === undefined ? {} : { version }),
})

const link = (changes: Partial<Link>): Link => ({
  direction: 'outbound',
  source: end('orders'),
  destination: end('payments', 'v1'),
  security: 'mutual_tls',
  connections: { open: 1, total: 10, denied: 0, failed: 0 },
  bytes: { received: 100, sent: 50 },
  idleMs: 0,
  ...changes,
})

test('a pair that both ends saw is counted once, as the caller saw it, with the denials of the callee', () => {
  const pairs = pairsOf([
    link({ setupMs: { p50: 1, p99: 2, count: 10 } }),
    link({
      direction: 'inbound',
      connections: { open: 0, total: 9, denied: 4, failed: 0 },
      setupMs: { p50: 7, p99: 8, count: 9 },
    }),
  ])
  expect(pairs).toEqual([
    {
      caller: 'shop/orders',
      callee: 'shop/payments v1',
      security: 'mutual_tls',
      open: 1,
      total: 10,
      denied: 4,
      bytes: 150,
      setupMs: { p50: 1, p99: 2, count: 10 },
      firstByteMs: undefined,
    },
  ])
})

test('one pair by service and by address is one row', () => {
  expect(pairsOf([link({}), link({})]).map((pair) => [pair.total, pair.bytes])).toEqual([[20, 300]])
})

test('versions, and plaintext beside mTLS, are rows of their own', () => {
  const pairs = pairsOf([
    link({}),
    link({ destination: end('payments', 'v2') }),
    link({ security: 'plaintext' }),
  ])
  expect(pairs.map((pair) => [pair.callee, pair.security])).toEqual([
    ['shop/payments v1', 'mutual_tls'],
    ['shop/payments v2', 'mutual_tls'],
    ['shop/payments v1', 'plaintext'],
  ])
})

test('a caller outside the mesh is shown as the callee saw it, without an identity', () => {
  const [pair] = pairsOf([
    link({
      direction: 'inbound',
      security: 'plaintext',
      source: { workload: 'legacy', namespace: 'shop' },
      destination: { workload: 'payments-v1', namespace: 'shop', version: 'v1' },
      connections: { open: 0, total: 3, denied: 1, failed: 0 },
    }),
  ])
  expect(pair).toMatchObject({
    caller: 'pod legacy',
    callee: 'pod payments-v1',
    total: 3,
    denied: 1,
  })
})

test('names show what was proven, then the pod, then the address', () => {
  expect(nameOf({ identity: 'spiffe://cluster.local/ns/a/sa/b', workload: 'w' })).toBe('a/b')
  expect(nameOf({ workload: 'w' })).toBe('pod w')
  expect(nameOf({ address: '192.0.2.1' })).toBe('192.0.2.1')
  expect(nameOf({ identity: 'b', address: '192.0.2.1' })).toBe('192.0.2.1')
})

test('an answer that is not the live table is refused', () => {
  expect(parseLinks(JSON.stringify({ links: [link({})] }))).toHaveLength(1)
  expect(() => parseLinks('{"links":[{}]}')).toThrow()
  expect(() => parseLinks('<html>')).toThrow()
})
