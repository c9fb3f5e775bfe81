import { describe, expect, test } from 'vitest'
import { formatSpiffeId, parseSpiffeId } from './spiffe.ts'

describe('parseSpiffeId', () => {
  test('takes a workload identity apart', () => {
    const text = 'spiffe://cluster.local/ns/shop/sa/orders'
    const id = parseSpiffeId(text)
    expect(id).toEqual({
      trustDomain: 'cluster.local',
      namespace: 'shop',
      serviceAccount: 'orders',
      text,
    })
    expect(formatSpiffeId({ trustDomain: 'a', namespace: 'b', serviceAccount: 'c' })).toBe(
      'spiffe://a/ns/b/sa/c',
    )
  })

  test.for([
    '',
    'cluster.local/ns/a/sa/b',
    'SPIFFE://td/ns/a/sa/b',
    'spiffe:///ns/a/sa/b',
    'spiffe://td/ns//sa/b',
    'spiffe://td/ns/a/sa/',
    'spiffe://td/ns/a/sa/b/',
    'spiffe://td/ns/a/sa/b/c',
    'spiffe://td/ns/a',
    'spiffe://td/sa/b/ns/a',
    'spiffe://TD/ns/a/sa/b',
    'spiffe://td:80/ns/a/sa/b',
    'spiffe://user@td/ns/a/sa/b',
    'spiffe://td/ns/a%2fb/sa/c',
    'spiffe://td/ns/../sa/c',
    'spiffe://td/ns/a/sa/.',
    'spiffe://td/ns/a/sa/b?x',
    'spiffe://td/ns/a/sa/b#x',
    'spiffe://td/ns/a/sa/b\n',
    'spiffe://td/ns/ä/sa/b',
    `spiffe://td/ns/a/sa/${'b'.repeat(2048)}`,
    `spiffe://${'t'.repeat(256)}/ns/a/sa/b`,
  ])('refuses %j', (text) => {
    expect(parseSpiffeId(text)).toBeUndefined()
  })
})
