import type { Certificate } from './certificate.ts'
import type { IdentityMaterial } from './identity-material.ts'

/** One item of `certificates` in the config dump, in the names that existing tools read (ztunnel spec, section 10.5). */
export interface CertificateDump {
  readonly identity: string
  /** `Initializing`, `Available` or `Unavailable: <why>`. */
  readonly state: string
  readonly certChain: readonly DumpedCertificate[]
  readonly rootCerts: readonly DumpedCertificate[]
}

export interface DumpedCertificate {
  /** Base64 of the PEM text. */
  readonly pem: string
  /** Decimal. */
  readonly serialNumber: string
  /** RFC 3339, both. */
  readonly validFrom: string
  readonly expirationTime: string
}

export const dumpCertificates = (
  identity: string,
  state: string,
  material: IdentityMaterial | undefined,
): CertificateDump => ({
  identity,
  state,
  certChain: material?.chain.map(dumped) ?? [],
  rootCerts: material?.roots.map(dumped) ?? [],
})

const dumped = (certificate: Certificate): DumpedCertificate => ({
  pem: Buffer.from(certificate.pem).toString('base64'),
  serialNumber: certificate.serialNumber,
  validFrom: rfc3339(certificate.notBeforeMs),
  expirationTime: rfc3339(certificate.notAfterMs),
})

const rfc3339 = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z')
