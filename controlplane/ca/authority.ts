import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Certificate } from '../../shared/identity/certificate.ts'
import type { IssuedCertificate } from '../../shared/identity/identity-material.ts'
import { signCertificate } from '../../shared/identity/signing.ts'
import type { SpiffeId } from '../../shared/identity/spiffe.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { checkCa } from './ca-check.ts'
import { type CaFiles, loadCaDir, openStateDir } from './ca-files.ts'

export interface AuthorityOptions {
  /** Where the CA is kept, and made on the first start; mode 0700. */
  readonly stateDir: string
  /** A plugged-in CA instead, as the four files that Istio calls `cacerts`; never written to. */
  readonly caDir?: string
  readonly trustDomain: string
  readonly clock: Clock
}

/** A TLS server's own certificate. */
export interface ServerCertificate {
  /** PKCS#8 PEM. A secret. */
  readonly keyPem: string
  /** PEM: the leaf, then the intermediates. */
  readonly chainPem: string
  readonly notAfterMs: number
}

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const ROOT_LIFETIME_MS = 3650 * DAY_MS
const SERVER_LIFETIME_MS = 90 * DAY_MS
/** How far behind ours the clock of a verifier may be (controlplane spec, section 7.2). */
const SKEW_MS = 2 * MINUTE_MS

/** The certificate authority of the mesh: key and certificate in memory, signing on request. */
export class Authority {
  /** PEM bundle: what peers have to trust. */
  readonly rootsPem: string
  readonly #key: KeyObject
  readonly #certificate: Certificate
  /** Between leaf and root, the signing certificate first; empty when that is itself the root. */
  readonly #intermediates: readonly Certificate[]
  readonly #clock: Clock

  /**
   * Loads the CA, or makes one. Throws `CA_FILES`, `CA_INVALID`, `SECRET_FILE`, `STATE_DIR` or `STATE_FILE`: each
   * names the file and what is wrong with it.
   */
  static open(options: AuthorityOptions): Authority {
    const { caDir, stateDir, clock } = options
    const files =
      caDir === undefined
        ? openStateDir(stateDir, (key) => selfSign(key, options))
        : loadCaDir(caDir)
    return new Authority(files, clock)
  }

  private constructor(files: CaFiles, clock: Clock) {
    const { key, certificate, intermediates, roots } = checkCa(files, clock.wallMs())
    this.#key = key
    this.#certificate = certificate
    this.#intermediates = intermediates
    this.#clock = clock
    this.rootsPem = roots.map(({ pem }) => pem).join('')
  }

  /** End of the signing certificate, in milliseconds since the epoch: nothing issued lasts longer. */
  get notAfterMs(): number {
    return this.#certificate.notAfterMs
  }

  /** A certificate for the workload identity, for both sides of mutual TLS (controlplane spec, section 7.2). */
  issueWorkload(publicKey: KeyObject, identity: SpiffeId, ttlMs: number): IssuedCertificate {
    const leaf = signCertificate({
      issuer: { key: this.#key, certificate: this.#certificate },
      publicKey,
      sans: { uris: [identity.text] },
      usages: ['serverAuth', 'clientAuth'],
      ...this.#validity(ttlMs),
    })
    return {
      leaf: leaf.pem,
      intermediates: this.#intermediates.map(({ pem }) => pem),
      roots: this.rootsPem,
    }
  }

  /** Key and certificate, of 90 days, for the control plane's own TLS under these names. */
  issueServer(names: {
    readonly dns: readonly string[]
    readonly ips: readonly string[]
  }): ServerCertificate {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const leaf = signCertificate({
      issuer: { key: this.#key, certificate: this.#certificate },
      publicKey,
      sans: names,
      usages: ['serverAuth'],
      ...this.#validity(SERVER_LIFETIME_MS),
    })
    return {
      keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      chainPem: [leaf, ...this.#intermediates].map(({ pem }) => pem).join(''),
      notAfterMs: leaf.notAfterMs,
    }
  }

  #validity(ttlMs: number): { notBeforeMs: number; notAfterMs: number } {
    const now = this.#clock.wallMs()
    return {
      notBeforeMs: now - SKEW_MS,
      notAfterMs: Math.min(now + ttlMs, this.#certificate.notAfterMs),
    }
  }
}

function selfSign(keyPem: string, { trustDomain, clock }: AuthorityOptions): string {
  const key = createPrivateKey(keyPem)
  const now = clock.wallMs()
  return signCertificate({
    issuer: { key },
    publicKey: createPublicKey(key),
    subject: { organization: trustDomain, commonName: 'ambit root' },
    ca: true,
    notBeforeMs: now - SKEW_MS,
    notAfterMs: now + ROOT_LIFETIME_MS,
  }).pem
}
