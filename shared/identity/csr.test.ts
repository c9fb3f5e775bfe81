import { execFileSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndCsr, parseCsr } from './csr.ts'
import { encodeDer, parseDer, partsOf } from './der.ts'
import { formatPem, parsePem } from './pem.ts'
import { TestingAuthority } from './testing-authority.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'
let directory: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambit-csr-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

const openssl = (args: readonly string[], input?: string): string =>
  execFileSync('openssl', args, {
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(input === undefined ? {} : { input }),
  })

/** A request as OpenSSL makes it. */
function opensslCsr(algorithm: string, ...options: string[]): string {
  const key = join(directory, `${algorithm}-${options.join('-').replaceAll(/\W/g, '')}.pem`)
  const generate = options.flatMap((option) => ['-pkeyopt', option])
  openssl(['genpkey', '-algorithm', algorithm, ...generate, '-out', key])
  return openssl(['req', '-new', '-key', key, '-subj', '/CN=x'])
}

describe('createKeyAndCsr', () => {
  test('makes what OpenSSL verifies: no subject, one critical URI, ECDSA with SHA-256', () => {
    const { csrPem, keyPem } = createKeyAndCsr(ID)
    const text = openssl(['req', '-verify', '-noout', '-text'], csrPem)
    expect(text).toMatch(/Subject: *\n/)
    expect(text).toMatch(/X509v3 Subject Alternative Name: critical\n\s+URI:/)
    expect(text.match(/URI:/g)).toHaveLength(1)
    expect(text).toContain(`URI:${ID}\n`)
    expect(text).toContain('Signature Algorithm: ecdsa-with-SHA256')
    expect(text).toContain('NIST CURVE: P-256')
    expect(keyPem).toMatch(/^-----BEGIN PRIVATE KEY-----/)
    expect(parseCsr(csrPem).equals(createPublicKey(keyPem))).toBe(true)
  })

  test('makes a fresh key each time', () => {
    expect(createKeyAndCsr(ID).keyPem).not.toBe(createKeyAndCsr(ID).keyPem)
  })
})

describe('parseCsr', () => {
  test.for([
    ['EC', 'ec_paramgen_curve:P-256'],
    ['EC', 'ec_paramgen_curve:P-384'],
    ['RSA', 'rsa_keygen_bits:2048'],
  ] as const)('accepts %s %s from OpenSSL', ([algorithm, option]) => {
    expect(parseCsr(opensslCsr(algorithm, option)).type).toBe('public')
  })

  test.for<[string, string, () => string]>([
    ['a curve that is not accepted', 'CSR_KEY', () => opensslCsr('EC', 'ec_paramgen_curve:P-521')],
    ['a short RSA key', 'CSR_KEY', () => opensslCsr('RSA', 'rsa_keygen_bits:1024')],
    ['an Ed25519 key', 'CSR_KEY', () => opensslCsr('ED25519')],
    ['a signature of another key', 'CSR_SIGNATURE', () => mixed()],
    [
      'a signature that is cut off',
      'CSR_MALFORMED',
      () => formatPem('CERTIFICATE REQUEST', derOf().subarray(0, -1)),
    ],
    [
      'bytes after the request',
      'CSR_MALFORMED',
      () => formatPem('CERTIFICATE REQUEST', Buffer.concat([derOf(), Buffer.from([0])])),
    ],
    ['no PEM', 'CSR_MALFORMED', () => 'hello'],
    ['the empty text', 'CSR_MALFORMED', () => ''],
    ['a certificate', 'CSR_MALFORMED', () => new TestingAuthority().rootsPem],
    ['two requests', 'CSR_MALFORMED', () => createKeyAndCsr(ID).csrPem.repeat(2)],
    ['a text that is too long', 'CSR_MALFORMED', () => 'x'.repeat(20_000)],
  ])('refuses %s', ([, code, pem]) => {
    const text = pem()
    expect(() => parseCsr(text)).toThrow(expect.objectContaining({ code }))
  })
})

function derOf(): Buffer {
  const [der] = parsePem(createKeyAndCsr(ID).csrPem, ['CERTIFICATE REQUEST'])
  if (der === undefined) throw new Error('no CSR')
  return der
}

/** The body of one request under the signature of another. */
function mixed(): string {
  const one = parseDer(derOf(), 'one')
  const [info] = partsOf(one, 'one')
  const [, algorithm, signature] = partsOf(parseDer(derOf(), 'other'), 'other')
  const parts = [info, algorithm, signature].filter((part) => part !== undefined)
  return formatPem('CERTIFICATE REQUEST', encodeDer({ ...one, value: parts }))
}

test('OpenSSL verifies what the signer issues, through an intermediate too', () => {
  for (const intermediate of [false, true]) {
    const authority = new TestingAuthority({ intermediate })
    const { chain } = authority.material(ID)
    const files = {
      root: authority.rootsPem,
      leaf: chain[0].pem,
      chain: chain.map(({ pem }) => pem).join(''),
    }
    const path = (name: string): string => join(directory, `${name}.pem`)
    for (const [name, pem] of Object.entries(files)) writeFileSync(path(name), pem)
    for (const purpose of ['sslserver', 'sslclient']) {
      const args = [
        '-x509_strict',
        '-purpose',
        purpose,
        '-CAfile',
        path('root'),
        '-untrusted',
        path('chain'),
      ]
      expect(openssl(['verify', ...args, path('leaf')])).toContain(': OK')
    }
  }
})
