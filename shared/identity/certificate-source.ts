import type { IssuedCertificate } from './identity-material.ts'

/** Signs certificates for workloads: a client of a CA, or a CA in the same process in tests. */
export interface CertificateSource {
  /**
   * Asks for a certificate of `identity` with the key of the CSR (PEM). Rejects with an `AmbitError`; has a time
   * limit of its own.
   */
  issue(identity: string, csrPem: string, signal: AbortSignal): Promise<IssuedCertificate>
}
