import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import { AmbitError } from '../runtime/errors.ts'
import {
  bits,
  bitsOf,
  boolean,
  encodeDer,
  explicit,
  implicit,
  integer,
  type Node,
  octets,
  oid,
  oidOf,
  parseDer,
  partsOf,
  sequence,
  set,
} from './der.ts'
import { OID } from './object-identifiers.ts'
import { formatPem, parsePem } from './pem.ts'

const MAX_LENGTH = 16 * 1024

/**
 * A fresh P-256 key (PKCS#8) and a request for a certificate of `identity`, in Istio's form: empty subject, one
 * critical subject alternative name with one URI, ECDSA with SHA-256.
 */
export function createKeyAndCsr(identity: string): { keyPem: string; csrPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const names = encodeDer(sequence(implicit(6, Buffer.from(identity, 'ascii'))))
  const extension = sequence(oid(OID.subjectAltName), boolean(true), octets(names))
  const info = sequence(
    integer(Buffer.from([0])),
    sequence(),
    parseDer(publicKey.export({ type: 'spki', format: 'der' }), 'the public key'),
    explicit(0, sequence(oid(OID.extensionRequest), set(sequence(extension)))),
  )
  const signature = sign('sha256', encodeDer(info), privateKey)
  const csr = sequence(info, sequence(oid(OID.ecdsaWithSha256)), bits(signature))
  return {
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    csrPem: formatPem('CERTIFICATE REQUEST', encodeDer(csr)),
  }
}

/**
 * The public key of a PKCS#10 request (RFC 2986) whose sender proved to hold the private key. Subject and names
 * asked for are not read: the signer alone decides what it certifies. Throws `CSR_MALFORMED`, `CSR_KEY` (a kind or
 * size that is not accepted) or `CSR_SIGNATURE`.
 */
export function parseCsr(pem: string): KeyObject {
  const [info, algorithm, signature] = readParts(pem)
  const publicKey = readKey(info)
  const { hash, keyType } = readAlgorithm(algorithm)
  if (publicKey.asymmetricKeyType !== keyType) {
    throw new AmbitError('CSR_SIGNATURE', 'the signature algorithm does not fit the key of the CSR')
  }
  const bytes = asCsrError(() => bitsOf(signature, 'the signature of the CSR'))
  if (!verifies(hash, encodeDer(info), publicKey, bytes)) {
    throw new AmbitError('CSR_SIGNATURE', 'the signature of the CSR does not verify')
  }
  return publicKey
}

function readParts(pem: string): readonly [Node, Node, Node] {
  if (pem.length > MAX_LENGTH) throw new AmbitError('CSR_MALFORMED', 'the CSR is too long')
  return asCsrError(() => {
    const blocks = parsePem(pem, ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'])
    const [der] = blocks
    if (der === undefined || blocks.length !== 1) {
      throw new AmbitError('CSR_MALFORMED', `one CSR in PEM expected, ${blocks.length} found`)
    }
    const [info, algorithm, signature, ...rest] = partsOf(parseDer(der, 'the CSR'), 'the CSR')
    if (
      info === undefined ||
      algorithm === undefined ||
      signature === undefined ||
      rest.length > 0
    ) {
      throw new AmbitError('CSR_MALFORMED', 'the CSR has not three parts')
    }
    return [info, algorithm, signature]
  })
}

function readKey(info: Node): KeyObject {
  const [, , key] = asCsrError(() => partsOf(info, 'the body of the CSR'))
  if (key === undefined) throw new AmbitError('CSR_MALFORMED', 'the CSR holds no public key')
  let publicKey: KeyObject
  try {
    publicKey = createPublicKey({ key: encodeDer(key), format: 'der', type: 'spki' })
  } catch (error) {
    throw new AmbitError('CSR_KEY', 'the public key of the CSR is not readable', { cause: error })
  }
  const problem = problemOfKey(publicKey)
  if (problem !== undefined) throw new AmbitError('CSR_KEY', problem)
  return publicKey
}

/** Why a key is not accepted, or undefined. The upper bound keeps one check from costing seconds. */
function problemOfKey(key: KeyObject): string | undefined {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'ec') {
    if (namedCurve === 'prime256v1' || namedCurve === 'secp384r1') return undefined
    return `the curve ${namedCurve ?? 'of the key'} is not accepted; use P-256 or P-384`
  }
  if (key.asymmetricKeyType === 'rsa') {
    if (modulusLength >= 2048 && modulusLength <= 8192) return undefined
    return `an RSA key of ${modulusLength} bits is not accepted; use 2048 to 8192`
  }
  return `a key of type ${key.asymmetricKeyType ?? 'unknown'} is not accepted; use EC or RSA`
}

const ALGORITHMS: ReadonlyMap<string, { hash: string; keyType: 'ec' | 'rsa' }> = new Map([
  [OID.ecdsaWithSha256, { hash: 'sha256', keyType: 'ec' }],
  [OID.ecdsaWithSha384, { hash: 'sha384', keyType: 'ec' }],
  [OID.ecdsaWithSha512, { hash: 'sha512', keyType: 'ec' }],
  [OID.rsaWithSha256, { hash: 'sha256', keyType: 'rsa' }],
  [OID.rsaWithSha384, { hash: 'sha384', keyType: 'rsa' }],
  [OID.rsaWithSha512, { hash: 'sha512', keyType: 'rsa' }],
])

function readAlgorithm(node: Node): { hash: string; keyType: 'ec' | 'rsa' } {
  const what = 'the signature algorithm of the CSR'
  const id = asCsrError(() => oidOf(partsOf(node, what)[0], what))
  const known = ALGORITHMS.get(id)
  if (known === undefined) {
    throw new AmbitError('CSR_SIGNATURE', `the signature algorithm ${id} is not accepted`)
  }
  return known
}

function verifies(hash: string, bytes: Buffer, key: KeyObject, signature: Buffer): boolean {
  try {
    return verify(hash, bytes, key, signature)
  } catch {
    return false
  }
}

function asCsrError<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof AmbitError && error.code === 'X509_MALFORMED') {
      throw new AmbitError('CSR_MALFORMED', error.message, { cause: error.cause })
    }
    throw error
  }
}
