import { describe, expect, test } from 'vitest'
import { parseFrame, TCP_FLAGS } from './packet.ts'

const MACS = 'ffffffffffff020000000001'
const TCP = '1f90c0de00000001000000025018ffff00000000'
const FD00_1 = 'fd000000000000000000000000000001'
const FD00_2 = 'fd000000000000000000000000000002'
const V4 = (length: string, protocol: string): string =>
  `4500${length}0000400040${protocol}00000a0000010a000002`
const V6 = (length: string, next: string): string => `60000000${length}${next}40${FD00_1}${FD00_2}`
const hex = (...parts: string[]): Buffer => Buffer.from(parts.join(''), 'hex')

describe('parseFrame', () => {
  test('reads TCP over IPv4 without link padding', () => {
    const packet = parseFrame(hex(MACS, '0800', V4('002b', '06'), TCP, '616263', '0000000000'))
    expect(packet).toEqual({
      family: 4,
      source: '10.0.0.1',
      destination: '10.0.0.2',
      protocol: 6,
      sourcePort: 8080,
      destinationPort: 0xc0de,
      tcpFlags: TCP_FLAGS.ack | TCP_FLAGS.psh,
      payload: Buffer.from('abc'),
    })
  })

  test('reads UDP over IPv6 behind a VLAN tag and a destination option', () => {
    const options = '1100010400000000'
    const udp = '00351234000b0000616263'
    const packet = parseFrame(hex(MACS, '81000005', '86dd', V6('0013', '3c'), options, udp))
    expect(packet).toMatchObject({
      family: 6,
      source: 'fd00::1',
      destination: 'fd00::2',
      protocol: 17,
      sourcePort: 53,
      payload: Buffer.from('abc'),
    })
  })

  test('gives later fragments without ports', () => {
    const fragment = '0600000900000001'
    const packet = parseFrame(hex(MACS, '86dd', V6('000b', '2c'), fragment, '616263'))
    expect(packet).toMatchObject({ protocol: 6, sourcePort: 0, payload: Buffer.from('abc') })
  })

  test('gives what is there of a payload that was cut', () => {
    const packet = parseFrame(hex(MACS, '0800', V4('0100', '06'), TCP, '6162'))
    expect(packet?.payload).toEqual(Buffer.from('ab'))
  })

  test('is undefined for ARP, and for every frame that ends inside its headers', () => {
    expect(parseFrame(hex(MACS, '0806', '00010800'))).toBeUndefined()
    const whole = hex(MACS, '0800', V4('0028', '06'), TCP)
    for (let length = 0; length < whole.length; length++) {
      expect(parseFrame(whole.subarray(0, length))).toBeUndefined()
    }
    expect(parseFrame(whole)).toBeDefined()
  })
})
