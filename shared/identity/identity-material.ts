import { createPrivateKey, X509Certificate } from 'node:crypto'
import { AmbitError } from '../runtime/errors.ts'
import { type Certificate, parseCertificates } from './certificate.ts'

/** What a CA answered: PEM, one certificate in `leaf` and in each intermediate, one or more in `roots`. */
export interface IssuedCertificate {
  readonly leaf: string
  readonly intermediates: readonly string[]
  readonly roots: string
}

/** A workload's key, certificate and trust anchors, checked to belong together. Immutable; a rotation makes a new one. */
export interface IdentityMaterial {
  /** SPIFFE id. */
  readonly identity: string
  /** PKCS#8 PEM. A secret. */
  readonly keyPem: string
  /** PEM: the leaf, then the intermediates. */
  readonly chainPem: string
  /** PEM: one or more. */
  readonly rootsPem: string
  readonly chain: readonly [Certificate, ...Certificate[]]
  readonly roots: readonly Certificate[]
}

/** The part that a handshake needs. */
export type TlsMaterial = Pick<IdentityMaterial, 'keyPem' | 'chainPem' | 'rootsPem'>

/** When the first certificate of the chain expires, in milliseconds since the epoch. */
export const expiryOf = (material: IdentityMaterial): number =>
  Math.min(...material.chain.map(({ notAfterMs }) => notAfterMs))

/** How far a CA's clock may be ahead of ours, in milliseconds. */
const CLOCK_SKEW_MS = 60_000

/** No chain that makes sense is longer; nor a bundle of roots. */
const MAX_CHAIN = 10
const MAX_ROOTS = 100

/**
 * Checks what a CA issued: the leaf is for exactly this identity and our key, valid now, and its chain ends at one
 * of the roots. Throws `CERTIFICATE_INVALID`, naming the fault.
 */
export function checkMaterial(
  identity: string,
  keyPem: string,
  issued: IssuedCertificate,
  nowMs: number,
): IdentityMaterial {
  try {
    const [leaf, ...more] = parseCertificates(issued.leaf, 'the leaf')
    if (leaf === undefined || more.length > 0) throw invalid('the leaf is not one certificate')
    const intermediates = issued.intermediates.flatMap((pem) =>
      parseCertificates(pem, 'an intermediate'),
    )
    const roots = parseCertificates(issued.roots, 'the bundle of roots')
    if (intermediates.length > MAX_CHAIN || roots.length > MAX_ROOTS) {
      throw invalid('the chain is too long')
    }
    checkLeaf(leaf, identity, nowMs)
    const chain: readonly [Certificate, ...Certificate[]] = [leaf, ...intermediates]
    if (chain.some(({ notAfterMs }) => notAfterMs <= nowMs)) {
      throw invalid('the issued certificate, or one of its chain, has expired already')
    }
    checkChain(chain, roots, keyPem)
    return {
      identity,
      keyPem,
      chainPem: pemOf(chain),
      rootsPem: pemOf(roots),
      chain,
      roots,
    }
  } catch (error) {
    if (error instanceof AmbitError && error.code === 'CERTIFICATE_INVALID') throw error
    throw invalid('the issued certificate cannot be used', error)
  }
}

function checkLeaf(leaf: Certificate, identity: string, nowMs: number): void {
  if (leaf.uris.length !== 1 || leaf.uris[0] !== identity) {
    const found = leaf.uris.slice(0, 3).join(', ') || 'nobody'
    throw invalid(`the issued certificate is for ${found}, not for ${identity}`)
  }
  if (leaf.isCa) throw invalid('the issued certificate is that of a CA')
  if (leaf.notBeforeMs > nowMs + CLOCK_SKEW_MS) {
    throw invalid('the issued certificate is not valid yet; check the clocks')
  }
}

function checkChain(
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  keyPem: string,
): void {
  const certificates = chain.map(({ raw }) => new X509Certificate(raw))
  const anchors = roots.map(({ raw }) => new X509Certificate(raw))
  if (!certificates[0]?.checkPrivateKey(createPrivateKey(keyPem))) {
    throw invalid('the issued certificate is not for the key of the request')
  }
  for (const [index, certificate] of certificates.entries()) {
    const issuer = certificates[index + 1]
    const candidates = issuer === undefined ? anchors : [issuer]
    const signed = candidates.some(
      (one) => certificate.checkIssued(one) && certificate.verify(one.publicKey),
    )
    if (!signed) throw invalid('the chain of the issued certificate does not end at a root')
  }
}

const pemOf = (certificates: readonly Certificate[]): string =>
  certificates.map(({ pem }) => pem).join('')

const invalid = (message: string, cause?: unknown): AmbitError =>
  new AmbitError('CERTIFICATE_INVALID', message, { cause })
