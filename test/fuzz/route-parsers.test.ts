import { isIP } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { testWorkload } from '../../shared/mesh/testing-mesh.ts'
import {
  canonicalAddress,
  formatEndpoint,
  formatIpAddress,
  parseIpAddress,
} from '../../shared/runtime/ip-address.ts'
import { parseAuthority } from '../../ztunnel/route/authority.ts'
import {
  createTraceparent,
  formatBaggage,
  formatForwarded,
  formatTraceparent,
  parseBaggage,
  parseForwardedHost,
  parseTraceparent,
} from '../../ztunnel/route/headers.ts'

const charOf = (chars: string) => fc.constantFrom(...chars.split(''))

/** Text that is nearly an address, a header or an authority. */
const nearly = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc.string({ unit: charOf('0123456789abcdefF:.[]%/-=;,"h ost'), maxLength: 50 }),
  fc.ipV4(),
  fc.ipV6(),
  fc.ipV4Extended(),
)
const bytes = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.uint8Array({ minLength: 16, maxLength: 16, max: 1 }),
)
const port = fc.integer({ min: 1, max: 65_535 })
const token = fc.string({ unit: charOf('abcxyz019.-_'), minLength: 1, maxLength: 20 })

test('an address is read exactly when Node reads it', () => {
  fc.assert(
    fc.property(nearly, (text) => {
      expect(parseIpAddress(text) !== undefined).toBe(isIP(text) !== 0 && !text.includes('%'))
    }),
    { numRuns: 20_000 },
  )
})

test('the text of an address comes back as the same address, in one spelling', () => {
  fc.assert(
    fc.property(bytes, (address) => {
      const text = formatIpAddress(address) ?? ''
      expect(isIP(text)).not.toBe(0)
      expect(canonicalAddress(text)).toBe(text)
      expect(formatIpAddress(parseIpAddress(text) ?? new Uint8Array())).toBe(text)
      if (address.length === 16) {
        const long = (Buffer.from(address).toString('hex').match(/.{4}/g) ?? []).join(':')
        expect(canonicalAddress(long)).toBe(text)
        // The URL parser is another implementation of the same rules, but keeps mapped addresses.
        if (text.includes(':')) expect(new URL(`http://[${long}]`).hostname).toBe(`[${text}]`)
      }
    }),
    { numRuns: 5_000 },
  )
})

test('an authority that is read is one that would be written', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        nearly,
        fc.tuple(nearly, fc.nat(70_000)).map((x) => x.join(':')),
      ),
      (text) => {
        const authority = parseAuthority(text)
        if (authority === undefined) return
        expect(authority.port).toBeGreaterThan(0)
        expect(authority.port).toBeLessThan(65_536)
        const host = authority.kind === 'address' ? authority.address : authority.hostname
        expect(isIP(host) !== 0).toBe(authority.kind === 'address')
        expect(host).toMatch(/^[0-9a-z._:-]+$/)
        expect(parseAuthority(formatEndpoint(host, authority.port))).toEqual(authority)
      },
    ),
    { numRuns: 20_000 },
  )
})

test('every address and port makes an authority', () => {
  fc.assert(
    fc.property(bytes, port, (address, port) => {
      const text = formatIpAddress(address) ?? ''
      expect(parseAuthority(formatEndpoint(text, port))).toEqual({
        kind: 'address',
        address: text,
        port,
      })
    }),
  )
})

test('forwarded, baggage and traceparent never throw', () => {
  fc.assert(
    fc.property(fc.oneof(nearly, fc.string({ unit: 'binary', maxLength: 200 })), (text) => {
      const host = parseForwardedHost(text)
      expect(host === undefined || /^[\x20-\x7e\t]+$/.test(host)).toBe(true)
      for (const value of Object.values(parseBaggage(text))) expect(value).not.toBe('')
      expect(parseTraceparent(text)).toBeUndefined()
    }),
    { numRuns: 10_000 },
  )
})

test('forwarded brings the name of the service', () => {
  fc.assert(
    fc.property(fc.string(), token, (other, hostname) => {
      expect(parseForwardedHost(formatForwarded('10.0.0.1:1', hostname))).toBe(hostname)
      const written = formatForwarded('10.0.0.1:1', other)
      expect(written).toMatch(/^for="10\.0\.0\.1:1"(;host=[\w.*-]+)?$/)
    }),
  )
})

test('baggage brings what can be written, and no value becomes another key', () => {
  const value = fc.oneof(token, fc.string())
  fc.assert(
    fc.property(value, value, value, (workloadName, canonicalName, namespace) => {
      const written = formatBaggage(
        testWorkload({ workloadName, canonicalName, namespace, workloadType: 'job' }),
      )
      const read = parseBaggage(written)
      const pairs = [
        [workloadName, read.workloadName],
        [canonicalName, read.canonicalName],
        [namespace, read.namespace],
      ]
      for (const [sent, received] of pairs) {
        if (received !== undefined || /^[\w.-]+$/.test(sent ?? '')) expect(received).toBe(sent)
      }
      expect(read).toMatchObject({ clusterId: 'Kubernetes', region: undefined, zone: undefined })
      expect(read.canonicalRevision).toBeUndefined()
    }),
    { numRuns: 2_000 },
  )
})

test('a traceparent of any random bytes comes back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 24, maxLength: 24 }), (random) => {
      const made = createTraceparent(random)
      expect(parseTraceparent(formatTraceparent(made))).toEqual(made)
    }),
  )
})
