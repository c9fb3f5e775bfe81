import { describe, expect, test } from 'vitest'
import {
  addressBytes,
  addressText,
  canonicalAddress,
  formatHostPort,
  parseHostPort,
} from './address.ts'

describe('canonicalAddress', () => {
  test.for([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::FFFF:0a00:0001', '10.0.0.1'],
    ['0:0:0:0:0:ffff:10.0.0.1', '10.0.0.1'],
    ['2001:0DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::1', '::1'],
    ['fd00:244:1::', 'fd00:244:1::'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is spelled %s', ([text = '', spelled]) => {
    expect(canonicalAddress(text)).toBe(spelled)
  })

  test.for([
    '',
    'localhost',
    '1.2.3.256',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7::8',
    'fe80::1%eth0',
  ])('gives %o back, which is no address', (text) => {
    expect(canonicalAddress(text)).toBe(text)
    expect(addressBytes(text)).toBeUndefined()
  })
})

describe('addressBytes', () => {
  test('is undone by addressText', () => {
    for (const text of ['0.0.0.0', '255.254.1.9', '::', 'fd00:244:1::2', '1:2:3:4:5:6:7:8']) {
      const bytes = addressBytes(text) ?? Buffer.alloc(0)
      expect(addressText(bytes, bytes.length === 4 ? 4 : 6)).toBe(text)
    }
  })

  test('refuses leading zeros, which some read as octal', () => {
    expect(addressBytes('010.0.0.1')).toBeUndefined()
  })
})

describe('host and port', () => {
  test('are written with brackets for IPv6 and read back', () => {
    expect(formatHostPort('10.0.0.1', 80)).toBe('10.0.0.1:80')
    expect(formatHostPort('fd00::1', 80)).toBe('[fd00::1]:80')
    expect(parseHostPort('10.0.0.1:80')).toEqual({ address: '10.0.0.1', port: 80 })
    expect(parseHostPort('[FD00:0::1]:65535')).toEqual({ address: 'fd00::1', port: 65_535 })
    expect(parseHostPort('[::ffff:10.0.0.1]:80')).toEqual({ address: '10.0.0.1', port: 80 })
  })

  test.for([
    '',
    '10.0.0.1',
    '10.0.0.1:',
    '10.0.0.1:0',
    '10.0.0.1:080',
    '10.0.0.1:65536',
    '10.0.0.999:80',
    'fd00::1:80',
    '[10.0.0.1]:80',
    '[fd00::1]80',
    '[fd00::g]:80',
    'host:80',
    '[fd00::1]:80 ',
  ])('%o is refused', (text) => {
    expect(parseHostPort(text)).toBeUndefined()
  })
})
