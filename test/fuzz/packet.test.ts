import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseFrame } from '../../shared/linux/packet.ts'
import {
  canonicalAddress,
  formatIpAddress,
  parseIpAddress,
} from '../../shared/runtime/ip-address.ts'

describe('parseFrame', () => {
  test('never throws, and never gives bytes that were not there', () => {
    const type = fc.constantFrom('0800', '86dd', '8100', '88a8')
    const first = fc.constantFrom('45', '46', '4f', '60', '00')
    fc.assert(
      fc.property(type, first, fc.uint8Array({ maxLength: 120 }), (type, first, rest) => {
        const bytes = Buffer.concat([Buffer.alloc(12), Buffer.from(type + first, 'hex'), rest])
        const packet = parseFrame(bytes)
        if (packet !== undefined)
          expect(packet.payload.length).toBeLessThanOrEqual(bytes.length - 34)
      }),
      { numRuns: 20_000 },
    )
  })
})

describe('addresses', () => {
  test('have one spelling, which reads back to the same bytes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const spelled = canonicalAddress(text)
        expect(canonicalAddress(spelled ?? '')).toBe(spelled)
        expect(formatIpAddress(parseIpAddress(text) ?? new Uint8Array())).toBe(spelled)
      }),
    )
  })

  test('are never found in arbitrary text by accident', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from('0123456789abcdef:.[]%g')) }),
        (text) => {
          const bytes = parseIpAddress(text)
          if (bytes !== undefined) expect([4, 16]).toContain(bytes.length)
        },
      ),
      { numRuns: 20_000 },
    )
  })
})
