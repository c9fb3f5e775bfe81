import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Certificate } from '../shared/identity/certificate.ts'
import { signCertificate } from '../shared/identity/signing.ts'

/** Files of the mutual TLS between two proxies: P-256, as between ztunnels. */
export interface PeerCertificates {
  readonly ca: string
  readonly client: PeerIdentity
  readonly server: PeerIdentity
}

export interface PeerIdentity {
  readonly certificate: string
  readonly key: string
  /** Both in one file, as HAProxy wants them. */
  readonly bundle: string
}

/** What the certificate of the server side is for; the client side checks it. */
export const SERVER_NAME = 'bench-server'
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Makes a root and two certificates of it, valid for a day from `nowMs`. */
export function writePeerCertificates(directory: string, nowMs: number): PeerCertificates {
  const validity = { notBeforeMs: nowMs - HOUR_MS, notAfterMs: nowMs + DAY_MS }
  const root = keyPair()
  const rootCertificate = signCertificate({
    issuer: { key: root.privateKey },
    publicKey: root.publicKey,
    subject: { commonName: 'bench root' },
    ca: true,
    ...validity,
  })
  const ca = join(directory, 'ca.pem')
  writeFileSync(ca, rootCertificate.pem)
  const identity = (name: string): PeerIdentity => {
    const own = keyPair()
    const certificate = signCertificate({
      issuer: { key: root.privateKey, certificate: rootCertificate },
      publicKey: own.publicKey,
      subject: { commonName: name },
      sans: { dns: [name] },
      usages: ['serverAuth', 'clientAuth'],
      ...validity,
    })
    return writeIdentity(directory, name, certificate, own.privateKey)
  }
  return { ca, client: identity('bench-client'), server: identity(SERVER_NAME) }
}

function writeIdentity(
  directory: string,
  name: string,
  certificate: Certificate,
  privateKey: KeyObject,
): PeerIdentity {
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const files = {
    certificate: join(directory, `${name}.crt`),
    key: join(directory, `${name}.key`),
    bundle: join(directory, `${name}.pem`),
  }
  writeFileSync(files.certificate, certificate.pem)
  writeFileSync(files.key, keyPem, { mode: 0o600 })
  writeFileSync(files.bundle, certificate.pem + keyPem, { mode: 0o600 })
  return files
}

const keyPair = (): { publicKey: KeyObject; privateKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' })
