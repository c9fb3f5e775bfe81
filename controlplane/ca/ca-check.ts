import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { type Certificate, parseCertificates } from '../../shared/identity/certificate.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { CA_FILE_NAMES, type CaFiles } from './ca-files.ts'

export interface CheckedCa {
  readonly key: KeyObject
  readonly certificate: Certificate
  /** What goes between a leaf and the root, in order. */
  readonly intermediates: readonly Certificate[]
  readonly roots: readonly Certificate[]
}

/**
 * Whether the files make a CA that peers can verify: a key that can sign, its certificate, that of a CA and valid
 * now, and a chain of the same to one of the roots. Throws `CA_INVALID`, naming the file.
 */
export function checkCa(files: CaFiles, nowMs: number): CheckedCa {
  const key = keyOf(files)
  const [certificate, ...more] = certificatesOf(files, 'caCert')
  if (certificate === undefined || more.length > 0) {
    throw invalid(files, 'caCert', `holds ${more.length + 1} certificates, one is expected`)
  }
  checkSigner(files, 'caCert', certificate, nowMs)
  if (!new X509Certificate(certificate.raw).checkPrivateKey(key)) {
    throw invalid(files, 'caKey', `is not the key of ${CA_FILE_NAMES.caCert}`)
  }
  const roots = certificatesOf(files, 'rootCert')
  const above = files.certChain.trim() === '' ? [] : certificatesOf(files, 'certChain')
  const intermediates = [certificate, ...above.filter((one) => !same(one, certificate))].filter(
    (one) => !isSelfIssued(one),
  )
  for (const one of intermediates.slice(1)) checkSigner(files, 'certChain', one, nowMs)
  checkPath(files, [certificate, ...intermediates.filter((one) => one !== certificate)], roots)
  const usable = roots.filter((root) => root.notAfterMs > nowMs)
  return { key, certificate, intermediates, roots: usable }
}

function keyOf(files: CaFiles): KeyObject {
  let key: KeyObject
  try {
    // PKCS#8, SEC1 and PKCS#1 alike.
    key = createPrivateKey(files.caKey)
  } catch (error) {
    throw invalid(files, 'caKey', 'is not a private key in PEM without a passphrase', error)
  }
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {}
  const type = key.asymmetricKeyType
  const good =
    (type === 'ec' && (namedCurve === 'prime256v1' || namedCurve === 'secp384r1')) ||
    (type === 'rsa' && modulusLength >= 2048)
  if (!good) throw invalid(files, 'caKey', 'is neither EC P-256 or P-384 nor RSA of 2048 bits')
  return key
}

function certificatesOf(files: CaFiles, name: keyof typeof CA_FILE_NAMES): Certificate[] {
  try {
    return parseCertificates(files[name], CA_FILE_NAMES[name])
  } catch (error) {
    throw invalid(files, name, 'is not a PEM file of certificates', error)
  }
}

function checkSigner(
  files: CaFiles,
  name: keyof typeof CA_FILE_NAMES,
  certificate: Certificate,
  nowMs: number,
): void {
  if (!certificate.isCa) throw invalid(files, name, 'is not the certificate of a CA')
  if (certificate.notAfterMs <= nowMs) {
    throw invalid(files, name, `expired at ${new Date(certificate.notAfterMs).toISOString()}`)
  }
  if (certificate.notBeforeMs > nowMs) {
    throw invalid(files, name, `is valid from ${new Date(certificate.notBeforeMs).toISOString()}`)
  }
}

/** Each certificate is signed by the next, the last by a root that is valid where the chain is. */
function checkPath(
  files: CaFiles,
  path: readonly Certificate[],
  roots: readonly Certificate[],
): void {
  for (const [index, one] of path.entries()) {
    const next = path[index + 1]
    const issuers = next === undefined ? roots : [next]
    if (!issuers.some((issuer) => isSignedBy(one, issuer))) {
      const file = next === undefined ? 'rootCert' : 'certChain'
      throw invalid(files, file, `does not hold the issuer of ${CA_FILE_NAMES.caCert}`)
    }
  }
}

function isSignedBy(one: Certificate, issuer: Certificate): boolean {
  const certificate = new X509Certificate(one.raw)
  const parent = new X509Certificate(issuer.raw)
  return certificate.checkIssued(parent) && certificate.verify(parent.publicKey)
}

const isSelfIssued = (one: Certificate): boolean => one.subject.equals(one.issuer)

const same = (one: Certificate, other: Certificate): boolean => one.raw.equals(other.raw)

const invalid = (
  files: CaFiles,
  name: keyof typeof CA_FILE_NAMES,
  what: string,
  cause?: unknown,
): AmbitError =>
  new AmbitError('CA_INVALID', `${join(files.directory, CA_FILE_NAMES[name])} ${what}`, { cause })
