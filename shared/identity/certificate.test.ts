import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parseCertificate, parseCertificates } from './certificate.ts'
import {
  bits,
  boolean,
  encodeDer,
  explicit,
  implicit,
  integer,
  type Node,
  octets,
  oid,
  parseDer,
  sequence,
  time,
} from './der.ts'
import { OID } from './object-identifiers.ts'
import { signCertificate } from './signing.ts'
import { TestingAuthority } from './testing-authority.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** A certificate with whatever extensions, properly signed. */
function withExtensions(...extensions: Node[]): Buffer {
  const algorithm = sequence(oid(OID.ecdsaWithSha256))
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(Buffer.from([1])),
    algorithm,
    sequence(),
    sequence(time(Date.UTC(2026, 0, 1)), time(Date.UTC(2060, 0, 1))),
    sequence(),
    parseDer(publicKey.export({ type: 'spki', format: 'der' }), 'key'),
    explicit(3, sequence(...extensions)),
  )
  return encodeDer(sequence(body, algorithm, bits(sign('sha256', encodeDer(body), privateKey))))
}

const names = (value: Uint8Array): Node =>
  sequence(oid(OID.subjectAltName), boolean(true), octets(value))
const uri = (text: string | Uint8Array): Node => implicit(6, Buffer.from(text))
const list = (...parts: Node[]): Buffer => encodeDer(sequence(...parts))

describe('parseCertificate', () => {
  test('reads names, validity and serial number', () => {
    const certificate = parseCertificate(
      withExtensions(names(list(uri(ID), implicit(2, Buffer.from('a.example'))))),
    )
    expect(certificate).toMatchObject({
      uris: [ID],
      dnsNames: ['a.example'],
      isCa: false,
      serialNumber: '1',
      notBeforeMs: Date.UTC(2026, 0, 1),
      notAfterMs: Date.UTC(2060, 0, 1),
    })
  })

  test.for<[string, () => Buffer]>([
    [
      'two alternative name extensions',
      () => withExtensions(names(list(uri(ID))), names(list(uri(ID)))),
    ],
    ['an alternative name that is not DER', () => withExtensions(names(Buffer.from('nonsense')))],
    ['an empty alternative name', () => withExtensions(names(list()))],
    [
      'bytes after the alternative name',
      () => withExtensions(names(Buffer.concat([list(uri(ID)), Buffer.from([5, 0])]))),
    ],
    ['a URI that is not ASCII', () => withExtensions(names(list(uri(`${ID}é`))))],
    ['a URI with a NUL byte', () => withExtensions(names(list(uri(`${ID}\0.evil`))))],
    ['an empty URI', () => withExtensions(names(list(uri(''))))],
    ['a constructed URI', () => withExtensions(names(list(explicit(6, octets(Buffer.from(ID))))))],
    ['a name of no kind', () => withExtensions(names(list(octets(Buffer.from(ID)))))],
    [
      'a length in a longer form than needed',
      () => withExtensions(names(Buffer.from([0x30, 0x81, 0x02, 0x86, 0x00]))),
    ],
    ['bytes after the certificate', () => Buffer.concat([withExtensions(), Buffer.from([0])])],
    ['a certificate that is cut off', () => withExtensions(names(list(uri(ID)))).subarray(0, -1)],
    ['nothing', () => Buffer.alloc(0)],
    ['a certificate larger than any', () => Buffer.alloc(65 * 1024, 0x30)],
  ])('refuses %s', ([, der]) => {
    expect(() => parseCertificate(der())).toThrow(
      expect.objectContaining({ code: 'X509_MALFORMED' }),
    )
  })
})

describe('parseCertificates', () => {
  test.for([
    '',
    'text',
    '-----BEGIN CERTIFICATE-----\nAAAA',
    '-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----',
  ])('refuses %j', (pem) => {
    expect(() => parseCertificates(pem, 'the file')).toThrow(
      expect.objectContaining({ code: 'X509_MALFORMED' }),
    )
  })

  test('passes over hostile text in linear time', () => {
    const text = `-----BEGIN CERTIFICATE-----${' '.repeat(900_000)}`
    const begin = performance.now()
    expect(() => parseCertificates(text, 'the file')).toThrow(/no end/)
    expect(performance.now() - begin).toBeLessThan(1_000)
  })
})

describe('signCertificate', () => {
  test('refuses a key that cannot sign certificates', () => {
    const { privateKey: key, publicKey: other } = generateKeyPairSync('ed25519')
    const request = { issuer: { key }, publicKey: other, notBeforeMs: 0, notAfterMs: 1 }
    expect(() => signCertificate(request)).toThrow(expect.objectContaining({ code: 'X509_KEY' }))
  })

  test('gives each certificate a positive serial number of its own', () => {
    const authority = new TestingAuthority()
    const serials = Array.from({ length: 50 }, () => authority.material(ID).chain[0].serialNumber)
    expect(new Set(serials).size).toBe(50)
    expect(serials.every((serial) => BigInt(serial) > 0n && BigInt(serial) < 2n ** 127n)).toBe(true)
  })

  test('the testing authority makes the key of what it certifies', () => {
    const material = new TestingAuthority().material(ID)
    expect(createPrivateKey(material.keyPem).asymmetricKeyDetails?.namedCurve).toBe('prime256v1')
  })
})
