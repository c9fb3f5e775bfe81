import { describe, expect, test } from 'vitest'
import { canonicalAddress, formatEndpoint, formatIpAddress, isLoopback } from './ip-address.ts'

describe('canonicalAddress', () => {
  test.for([
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['FD00:0:0:1::0:1', 'fd00:0:0:1::1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['::10.0.0.1', '::a00:1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
  ])('%s is %s', ([text = '', expected]) => {
    expect(canonicalAddress(text)).toBe(expected)
  })

  test.for([
    '',
    '10.0.0',
    '10.0.0.1.2',
    '10.0.0.256',
    '10.0.0.01',
    '10.0.0.',
    '.10.0.0',
    ' 10.0.0.1',
    '0x0a.0.0.1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2:3:4:5:6:7:8',
    '1::2::3',
    ':::',
    ':1::2',
    '1:',
    '12345::',
    'g::',
    'fe80::1%eth0',
    '::10.0.0.1:1',
    '10.0.0.1::',
    'localhost',
  ])('%j is none', (text) => {
    expect(canonicalAddress(text)).toBeUndefined()
  })
})

test('only 4 or 16 bytes are an address', () => {
  expect([0, 3, 5, 15, 17].map((length) => formatIpAddress(new Uint8Array(length)))).toEqual(
    Array.from({ length: 5 }),
  )
})

test('endpoints and loopback', () => {
  expect([formatEndpoint('10.0.0.1', 80), formatEndpoint('fd00::1', 80)]).toEqual([
    '10.0.0.1:80',
    '[fd00::1]:80',
  ])
  expect(['127.0.0.1', '127.8.9.1', '::1', '::', '12.7.0.1', '1::1'].map(isLoopback)).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ])
})
