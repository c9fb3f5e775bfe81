import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type Certificate, parseCertificates } from './certificate.ts'
import type { CertificateSource } from './certificate-source.ts'
import { createKeyAndCsr, parseCsr } from './csr.ts'
import type { IdentityMaterial, IssuedCertificate } from './identity-material.ts'
import { type SigningRequest, signCertificate } from './signing.ts'

// Test support only: a CA in memory, which also issues what no CA should.

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

/** What may be wrong with a certificate on purpose. */
export const BAD_CERTIFICATES = [
  'foreign-trust-domain',
  'expired',
  'not-yet-valid',
  'no-spiffe-san',
  'no-san',
  'two-sans',
  'self-signed',
  'unknown-authority',
  'server-only',
  'client-only',
] as const
export type BadCertificate = (typeof BAD_CERTIFICATES)[number]

export interface TestingAuthorityOptions {
  /** Wall time in milliseconds; the real one unless given. */
  readonly now?: () => number
  /** Lifetime of leaves in milliseconds, one day unless given. */
  readonly lifetimeMs?: number
  /** Signs through an intermediate CA. */
  readonly intermediate?: boolean
  /** Signs as this CA, such as that of a running mesh, instead of one of its own; PEM. */
  readonly root?: { readonly key: string; readonly certificate: string }
}

interface Signer {
  readonly key: KeyObject
  readonly certificate: Certificate
}

/** Also a `CertificateSource`, so a certificate manager can be run on it. */
export class TestingAuthority implements CertificateSource {
  readonly root: Signer
  readonly #signer: Signer
  readonly #now: () => number
  lifetimeMs: number
  /** How many certificates it issued as a source. */
  issued = 0
  /** Set, it makes `issue` fail. */
  failure: Error | undefined

  constructor(options: TestingAuthorityOptions = {}) {
    this.#now = options.now ?? Date.now
    this.lifetimeMs = options.lifetimeMs ?? DAY_MS
    this.root =
      options.root === undefined
        ? this.#createCa('ambit testing root')
        : readSigner(options.root.key, options.root.certificate)
    this.#signer =
      options.intermediate === true ? this.#createCa('intermediate', this.root) : this.root
  }

  get rootsPem(): string {
    return this.root.certificate.pem
  }

  async issue(identity: string, csrPem: string, signal?: AbortSignal): Promise<IssuedCertificate> {
    await Promise.resolve()
    signal?.throwIfAborted()
    if (this.failure !== undefined) throw this.failure
    this.issued++
    const leaf = this.#sign(parseCsr(csrPem), { sans: { uris: [identity] } })
    return { leaf: leaf.pem, intermediates: this.#intermediates(), roots: this.rootsPem }
  }

  /** Key, certificate and roots of a workload, as a certificate manager would hold them. */
  material(identity: string): IdentityMaterial {
    return this.#materialWith(identity, (publicKey) =>
      this.#sign(publicKey, { sans: { uris: [identity] } }),
    )
  }

  /** The same with a fault; `identity` is what the certificate would be for without it. */
  badMaterial(identity: string, fault: BadCertificate): IdentityMaterial {
    const other = new TestingAuthority({ now: this.#now })
    const uris = [identity]
    const now = this.#now()
    const faults: Record<BadCertificate, (publicKey: KeyObject, key: KeyObject) => Certificate> = {
      'foreign-trust-domain': (publicKey) => {
        const foreign = identity.replace(/^spiffe:\/\/[^/]+/, 'spiffe://foreign.example')
        return this.#sign(publicKey, { sans: { uris: [foreign] } })
      },
      expired: (publicKey) =>
        this.#sign(publicKey, {
          sans: { uris },
          notBeforeMs: now - DAY_MS,
          notAfterMs: now - 1000,
        }),
      'not-yet-valid': (publicKey) =>
        this.#sign(publicKey, {
          sans: { uris },
          notBeforeMs: now + DAY_MS,
          notAfterMs: now + 2 * DAY_MS,
        }),
      'no-spiffe-san': (publicKey) => this.#sign(publicKey, { sans: { dns: ['app.example'] } }),
      'no-san': (publicKey) => this.#sign(publicKey, { subject: { commonName: identity } }),
      'two-sans': (publicKey) =>
        this.#sign(publicKey, { sans: { uris: [identity, `${identity}-other`] } }),
      'self-signed': (publicKey, key) =>
        this.#sign(publicKey, { sans: { uris }, issuer: { key }, subject: { commonName: 'self' } }),
      'unknown-authority': (publicKey) => other.#sign(publicKey, { sans: { uris } }),
      'server-only': (publicKey) =>
        this.#sign(publicKey, { sans: { uris }, usages: ['serverAuth'] }),
      'client-only': (publicKey) =>
        this.#sign(publicKey, { sans: { uris }, usages: ['clientAuth'] }),
    }
    return this.#materialWith(identity, faults[fault])
  }

  #materialWith(
    identity: string,
    certify: (publicKey: KeyObject, key: KeyObject) => Certificate,
  ): IdentityMaterial {
    const { keyPem } = createKeyAndCsr(identity)
    const key = createPrivateKey(keyPem)
    const leaf = certify(createPublicKey(keyPem), key)
    const intermediates = this.#signer === this.root ? [] : [this.#signer.certificate]
    return {
      identity,
      keyPem,
      chainPem: [leaf, ...intermediates].map(({ pem }) => pem).join(''),
      rootsPem: this.rootsPem,
      chain: [leaf, ...intermediates],
      roots: [this.root.certificate],
    }
  }

  #intermediates(): string[] {
    return this.#signer === this.root ? [] : [this.#signer.certificate.pem]
  }

  #sign(publicKey: KeyObject, special: Partial<SigningRequest>): Certificate {
    const now = this.#now()
    return signCertificate({
      issuer: this.#signer,
      publicKey,
      usages: ['serverAuth', 'clientAuth'],
      notBeforeMs: now - 2 * MINUTE_MS,
      notAfterMs: now + this.lifetimeMs,
      ...special,
    })
  }

  #createCa(commonName: string, issuer?: Signer): Signer {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const certificate = signCertificate({
      issuer: issuer ?? { key: privateKey },
      publicKey,
      subject: { commonName },
      ca: true,
      notBeforeMs: this.#now() - 3650 * DAY_MS,
      notAfterMs: this.#now() + 3650 * DAY_MS,
    })
    return { key: privateKey, certificate }
  }
}

function readSigner(key: string, pem: string): Signer {
  const [certificate] = parseCertificates(pem, 'the certificate of the CA')
  if (certificate === undefined) throw new Error('no certificate of a CA')
  return { key: createPrivateKey(key), certificate }
}
