import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseCertificate, parseCertificates } from '../../shared/identity/certificate.ts'
import { createKeyAndCsr, parseCsr } from '../../shared/identity/csr.ts'
import { verifyPeer } from '../../shared/identity/peer.ts'
import { formatPem, parsePem } from '../../shared/identity/pem.ts'
import { formatSpiffeId, parseSpiffeId } from '../../shared/identity/spiffe.ts'
import { TestingAuthority } from '../../shared/identity/testing-authority.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'
const authority = new TestingAuthority({ intermediate: true })
const certificate = authority.material(ID).chain[0].raw
const [csr = Buffer.alloc(0)] = parsePem(createKeyAndCsr(ID).csrPem, ['CERTIFICATE REQUEST'])

/** Bytes changed, left out and put in anywhere, several times over. */
const mutated = (original: Buffer): fc.Arbitrary<Buffer> =>
  fc
    .array(
      fc.record({
        at: fc.nat(original.length - 1),
        remove: fc.nat(4),
        insert: fc.uint8Array({ maxLength: 4 }),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((changes) =>
      changes.reduce(
        (bytes, { at, remove, insert }) =>
          Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]),
        original,
      ),
    )

/** Either a result or an error that was foreseen. */
function typed<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    expect(error).toBeInstanceOf(AmbitError)
    return undefined
  }
}

describe('certificates', () => {
  test('mutated ones give a result or a typed error, and what is read encodes to the same bytes', () => {
    fc.assert(
      fc.property(mutated(certificate), (der) => {
        const parsed = typed(() => parseCertificate(der))
        if (parsed !== undefined) expect(parsed.raw.equals(der)).toBe(true)
      }),
      { numRuns: 3_000 },
    )
  })

  test('no bytes make the verification of a peer throw, and only its own identity is accepted', () => {
    fc.assert(
      fc.property(fc.oneof(mutated(certificate), fc.uint8Array({ maxLength: 300 })), (der) => {
        const verdict = verifyPeer(der, { identities: [ID] })
        if (verdict.kind === 'accepted') expect(verdict.id.text).toBe(ID)
      }),
      { numRuns: 3_000 },
    )
  })

  test('no PEM text makes the reader throw anything unforeseen', () => {
    const piece = fc.constantFrom(
      '-----BEGIN ',
      'CERTIFICATE',
      '-----',
      '-----END ',
      '\n',
      'AAAA',
      '=',
      ' ',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 30 }), (pieces) => {
        typed(() => parseCertificates(pieces.join(''), 'the text'))
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('requests', () => {
  test('mutated ones are refused with a typed error, since their signature no longer fits', () => {
    fc.assert(
      fc.property(mutated(csr), (der) => {
        fc.pre(!der.equals(csr))
        expect(typed(() => parseCsr(formatPem('CERTIFICATE REQUEST', der)))).toBeUndefined()
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('SPIFFE ids', () => {
  test('what is accepted is what its parts format to', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc
        .tuple(
          fc.string({ maxLength: 8 }),
          fc.string({ maxLength: 8 }),
          fc.string({ maxLength: 8 }),
        )
        .map(([td, ns, sa]) => `spiffe://${td}/ns/${ns}/sa/${sa}`),
    )
    fc.assert(
      fc.property(text, (candidate) => {
        const id = parseSpiffeId(candidate)
        if (id !== undefined) expect(formatSpiffeId(id)).toBe(candidate)
      }),
      { numRuns: 3_000 },
    )
  })
})
