import { expect, test } from 'vitest'
import { bytesText, type RatedPair, tableLines } from './link-table.ts'

const pair: RatedPair = {
  caller: 'shop/frontend',
  callee: 'shop/payments v1',
  security: 'mutual_tls',
  open: 2,
  total: 310,
  denied: 0,
  bytes: 1_234_567,
  setupMs: { p50: 0.84, p99: 12.3 },
  firstByteMs: undefined,
  perSecond: 2.96,
  deniedNow: false,
}

test('a row says who, how, how much and how fast', () => {
  const [, head, row] = tableLines([pair]).map(({ text }) => text)
  expect(head).toMatch(
    /caller +callee +security +open\/total +\/s +bytes +p50 \/ p99 +p50 \/ p99 +denied$/,
  )
  expect(row?.trim().split(/ {2,}/)).toEqual([
    'shop/frontend',
    'shop/payments v1',
    'mTLS',
    '2/310',
    '3.0',
    '1.2 MB',
    '0.8 / 12',
    '-',
    '0',
  ])
})

test('the latencies are labelled', () => {
  expect(tableLines([])[0]?.text).toMatch(/connections +new +set-up, ms +1st byte, ms/)
})

test('every line fits 120 columns, whatever the names', () => {
  const long = 'namespace-with-a-long-name/account-with-a-long-name'
  const worst = { ...pair, caller: long, callee: long, total: 10 ** 9, denied: 10 ** 9 }
  for (const { text } of tableLines([pair, worst])) expect(text.length).toBeLessThanOrEqual(118)
})

test('plaintext and fresh denials have a tone of their own', () => {
  const lines = tableLines([pair, { ...pair, security: 'plaintext' }, { ...pair, deniedNow: true }])
  expect(lines.map(({ tone }) => tone)).toEqual([
    'head',
    'head',
    'mutual_tls',
    'plaintext',
    'denied',
  ])
})

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 kB'],
  [42_000, '42 kB'],
  [1.5e9, '1.5 GB'],
])('%d bytes read %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text)
})
