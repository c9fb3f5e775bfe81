import { execFileSync } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Certificate, parseCertificates } from '../../shared/identity/certificate.ts'
import { createKeyAndCsr } from '../../shared/identity/csr.ts'
import { checkMaterial } from '../../shared/identity/identity-material.ts'
import { type SigningRequest, signCertificate } from '../../shared/identity/signing.ts'
import { parseSpiffeId } from '../../shared/identity/spiffe.ts'
import { TestingAuthority } from '../../shared/identity/testing-authority.ts'
import { FakeClock } from '../../shared/runtime/clock.ts'
import { Authority } from './authority.ts'

const DAY = 24 * 3_600_000
const NOW = Date.UTC(2026, 5, 1)
const identity = (() => {
  const id = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/orders')
  if (id === undefined) throw new Error('not an id')
  return id
})()

let stateDir: string
let caDir: string
let clock: FakeClock

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'ambit-state-'))
  caDir = mkdtempSync(join(tmpdir(), 'ambit-cacerts-'))
  clock = new FakeClock(NOW)
})
afterEach(() => {
  rmSync(stateDir, { recursive: true })
  rmSync(caDir, { recursive: true })
})

const open = (plugged = false): Authority =>
  Authority.open({ stateDir, trustDomain: 'cluster.local', clock, ...(plugged ? { caDir } : {}) })
const coded = (code: string) => expect.objectContaining({ code })
const modeOf = (path: string): number => statSync(path).mode & 0o777
const workloadKey = (): { publicKey: KeyObject; keyPem: string } => {
  const { keyPem } = createKeyAndCsr(identity.text)
  return { publicKey: createPublicKey(keyPem), keyPem }
}

describe('a CA of its own', () => {
  test('is made on the first start, closed to others, and found again on the next', () => {
    const first = open()
    expect(readdirSync(stateDir).sort()).toEqual([
      'ca-cert.pem',
      'ca-key.pem',
      'cert-chain.pem',
      'root-cert.pem',
    ])
    expect(modeOf(stateDir)).toBe(0o700)
    expect(modeOf(join(stateDir, 'ca-key.pem'))).toBe(0o600)
    expect(open().rootsPem).toBe(first.rootsPem)
    const [root] = parseCertificates(first.rootsPem, 'root')
    expect(root).toMatchObject({ isCa: true, notBeforeMs: NOW - 120_000 })
    expect(root?.notAfterMs).toBe(NOW + 3650 * DAY)
    expect(new X509Certificate(first.rootsPem).subject).toContain('O=cluster.local')
  })

  test('makes the directory, for the owner alone', () => {
    const nested = join(stateDir, 'a', 'b')
    Authority.open({ stateDir: nested, trustDomain: 'cluster.local', clock })
    expect(modeOf(nested)).toBe(0o700)
  })

  test.for(['cert-chain.pem', 'root-cert.pem'])(
    'a first start that was cut off before %s is finished',
    (name) => {
      const { rootsPem } = open()
      rmSync(join(stateDir, name))
      expect(open().rootsPem).toBe(rootsPem)
      expect(existsSync(join(stateDir, name))).toBe(true)
    },
  )

  test('a first start that was cut off after the key goes on with that key', () => {
    open()
    const key = readFileSync(join(stateDir, 'ca-key.pem'), 'utf8')
    for (const name of ['ca-cert.pem', 'cert-chain.pem', 'root-cert.pem'])
      rmSync(join(stateDir, name))
    open()
    expect(readFileSync(join(stateDir, 'ca-key.pem'), 'utf8')).toBe(key)
  })

  test.for<[string, string, RegExp, () => void]>([
    ['its key was lost', 'CA_FILES', /ca-key\.pem/, () => rmSync(join(stateDir, 'ca-key.pem'))],
    [
      'its certificate was lost',
      'CA_FILES',
      /ca-cert\.pem/,
      () => rmSync(join(stateDir, 'ca-cert.pem')),
    ],
    [
      'others can read its key',
      'SECRET_FILE',
      /0640.*chmod 600/,
      () => chmodSync(join(stateDir, 'ca-key.pem'), 0o640),
    ],
    [
      'others can enter its directory',
      'STATE_DIR',
      /0755.*chmod 700/,
      () => chmodSync(stateDir, 0o755),
    ],
    [
      'its key is another',
      'CA_INVALID',
      /ca-key\.pem is not the key of/,
      () => writeFileSync(join(stateDir, 'ca-key.pem'), createKeyAndCsr('x').keyPem),
    ],
    [
      'its key is half written',
      'CA_INVALID',
      /ca-key\.pem is not a private key/,
      () => writeFileSync(join(stateDir, 'ca-key.pem'), '-----BEGIN'),
    ],
    [
      'its certificate is garbage',
      'CA_INVALID',
      /ca-cert\.pem is not a PEM/,
      () => writeFileSync(join(stateDir, 'ca-cert.pem'), 'x'),
    ],
    ['it has expired', 'CA_INVALID', /ca-cert\.pem expired/, () => clock.advance(3651 * DAY)],
    [
      'the clock is before it',
      'CA_INVALID',
      /is valid from/,
      () => {
        clock = new FakeClock(NOW - DAY)
      },
    ],
  ])('refuses to start when %s', ([, code, message, spoil]) => {
    open()
    spoil()
    expect(() => open()).toThrow(coded(code))
    expect(() => open()).toThrow(message)
  })

  test('says so when its directory cannot be made', () => {
    const path = join(stateDir, 'file')
    writeFileSync(path, '')
    expect(() => Authority.open({ stateDir: join(path, 'x'), trustDomain: 'td', clock })).toThrow(
      coded('STATE_DIR'),
    )
  })
})

describe('issueWorkload', () => {
  test('certifies exactly the identity, for both sides of TLS, from two minutes ago', () => {
    const { publicKey, keyPem } = workloadKey()
    const issued = open().issueWorkload(publicKey, identity, DAY)
    const material = checkMaterial(identity.text, keyPem, issued, NOW)
    const [leaf] = material.chain
    expect(material.chain).toHaveLength(1)
    expect(leaf).toMatchObject({ uris: [identity.text], dnsNames: [], isCa: false })
    expect(leaf.notBeforeMs).toBe(NOW - 120_000)
    expect(leaf.notAfterMs).toBe(NOW + DAY)
    const text = execFileSync('openssl', ['x509', '-noout', '-text'], {
      input: leaf.pem,
      encoding: 'utf8',
    })
    expect(text).toContain('X509v3 Subject Alternative Name: critical')
    expect(text).toContain('Digital Signature, Key Encipherment')
    expect(text).toContain('TLS Web Server Authentication, TLS Web Client Authentication')
    expect(text).toMatch(/Subject: *\n/)
  })

  test('an expired certificate of the same CA is not usable', () => {
    const authority = open()
    const read = (name: string): string => readFileSync(join(stateDir, name), 'utf8')
    const thief = new TestingAuthority({
      now: () => clock.wallMs(),
      root: { key: read('ca-key.pem'), certificate: read('ca-cert.pem') },
    })
    const material = thief.badMaterial(identity.text, 'expired')
    const leaf = material.chain[0]
    expect(thief.rootsPem).toBe(authority.rootsPem)
    expect(() =>
      checkMaterial(
        identity.text,
        material.keyPem,
        { leaf: leaf.pem, intermediates: [], roots: authority.rootsPem },
        NOW,
      ),
    ).toThrow(/expired/)
  })

  test('lasts no longer than the CA itself', () => {
    const authority = open()
    clock.advance(3649 * DAY)
    const { leaf } = authority.issueWorkload(workloadKey().publicKey, identity, 90 * DAY)
    expect(parseCertificates(leaf, 'leaf')[0]?.notAfterMs).toBe(authority.notAfterMs)
  })
})

test('issueServer names the control plane by DNS and address', () => {
  const server = open().issueServer({
    dns: ['ambit.example', 'localhost'],
    ips: ['10.0.0.1', 'fd00::1', '::ffff:10.1.2.3'],
  })
  const certificate = new X509Certificate(server.chainPem)
  expect(certificate.checkHost('ambit.example')).toBe('ambit.example')
  expect(certificate.checkIP('10.0.0.1')).toBe('10.0.0.1')
  expect(certificate.checkIP('fd00::1')).toBe('fd00::1')
  expect(certificate.checkIP('10.9.9.9')).toBeUndefined()
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
  expect(server.notAfterMs).toBe(NOW + 90 * DAY)
})

describe('a plugged-in CA', () => {
  interface Signer {
    readonly key: KeyObject
    readonly certificate: Certificate
  }
  const signer = (
    special: Partial<SigningRequest> = {},
    key = generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ): Signer => ({
    key: key.privateKey,
    certificate: signCertificate({
      issuer: { key: key.privateKey },
      publicKey: key.publicKey,
      subject: { commonName: `ca ${Math.random()}` },
      ca: true,
      notBeforeMs: NOW - DAY,
      notAfterMs: NOW + 365 * DAY,
      ...special,
    }),
  })

  function install(
    ca: Signer,
    chain: readonly Certificate[],
    root: Signer,
    format: 'pkcs8' | 'sec1' | 'pkcs1' = 'pkcs8',
  ): void {
    const write = (name: string, text: string): void =>
      writeFileSync(join(caDir, name), text, { mode: 0o600 })
    write('ca-key.pem', ca.key.export({ type: format, format: 'pem' }).toString())
    write('ca-cert.pem', ca.certificate.pem)
    write('cert-chain.pem', chain.map(({ pem }) => pem).join(''))
    write('root-cert.pem', root.certificate.pem)
  }

  const p384 = (): ReturnType<typeof generateKeyPairSync> =>
    generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const rsa = (): ReturnType<typeof generateKeyPairSync> =>
    generateKeyPairSync('rsa', { modulusLength: 2048 })

  test.for([
    ['EC P-384 in SEC1', p384, 'sec1'],
    ['EC P-384 in PKCS#8', p384, 'pkcs8'],
    ['RSA in PKCS#1', rsa, 'pkcs1'],
    ['RSA in PKCS#8', rsa, 'pkcs8'],
  ] as const)('may have a key that is %s, and two intermediates', ([, keyPair, format]) => {
    const root = signer()
    const upper = signer({ issuer: root })
    const lower = signer({ issuer: upper }, keyPair())
    install(lower, [lower.certificate, upper.certificate, root.certificate], root, format)
    const before = cpAll()
    const { publicKey, keyPem } = workloadKey()
    const issued = open(true).issueWorkload(publicKey, identity, DAY)
    const material = checkMaterial(identity.text, keyPem, issued, NOW)
    expect(material.chain.slice(1).map(({ raw }) => raw)).toEqual([
      lower.certificate.raw,
      upper.certificate.raw,
    ])
    expect(material.roots.map(({ raw }) => raw)).toEqual([root.certificate.raw])
    expect(cpAll()).toEqual(before)
    expect(readdirSync(stateDir)).toEqual([])
  })

  test('needs no cert-chain.pem under a root of its own', () => {
    const root = signer()
    install(root, [], root)
    rmSync(join(caDir, 'cert-chain.pem'))
    expect(open(true).issueWorkload(workloadKey().publicKey, identity, DAY).intermediates).toEqual(
      [],
    )
  })

  test.for<[string, string, RegExp, () => void]>([
    [
      'has no root-cert.pem',
      'CA_FILES',
      /no root-cert\.pem/,
      () => rmSync(join(caDir, 'root-cert.pem')),
    ],
    ['has no ca-key.pem', 'CA_FILES', /no ca-key\.pem/, () => rmSync(join(caDir, 'ca-key.pem'))],
    [
      'has a key that others can read',
      'SECRET_FILE',
      /ca-key\.pem is open/,
      () => chmodSync(join(caDir, 'ca-key.pem'), 0o644),
    ],
    [
      'has two signing certificates',
      'CA_INVALID',
      /2 certificates/,
      () => {
        const path = join(caDir, 'ca-cert.pem')
        writeFileSync(path, readFileSync(path, 'utf8').repeat(2))
      },
    ],
    [
      'is not that of a CA',
      'CA_INVALID',
      /not the certificate of a CA/,
      () => {
        const leaf = signer({ ca: false })
        install(leaf, [], leaf)
      },
    ],
    [
      'has a root that is another',
      'CA_INVALID',
      /does not hold the issuer/,
      () => writeFileSync(join(caDir, 'root-cert.pem'), signer().certificate.pem),
    ],
    [
      'lacks an intermediate',
      'CA_INVALID',
      /does not hold the issuer/,
      () => {
        const root = signer()
        const upper = signer({ issuer: root })
        install(signer({ issuer: upper }), [], root)
      },
    ],
    [
      'has an intermediate that expired',
      'CA_INVALID',
      /cert-chain\.pem expired/,
      () => {
        const root = signer()
        const upper = signer({ issuer: root, notAfterMs: NOW - 1000 })
        install(signer({ issuer: upper }), [upper.certificate], root)
      },
    ],
    [
      'has a short RSA key',
      'CA_INVALID',
      /neither EC/,
      () => {
        const weak = signer({}, generateKeyPairSync('rsa', { modulusLength: 1024 }))
        install(weak, [], weak)
      },
    ],
  ])('refuses to start when it %s', ([, code, message, spoil]) => {
    const root = signer()
    install(root, [], root)
    open(true)
    spoil()
    expect(() => open(true)).toThrow(coded(code))
    expect(() => open(true)).toThrow(message)
  })

  function cpAll(): [string, string][] {
    return readdirSync(caDir)
      .sort()
      .map((name) => [name, readFileSync(join(caDir, name), 'utf8')])
  }
})
