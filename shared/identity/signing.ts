import { createHash, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'
import { AmbitError } from '../runtime/errors.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import {
  bits,
  bitsOf,
  boolean,
  empty,
  encodeDer,
  explicit,
  implicit,
  integer,
  type Node,
  octets,
  oid,
  parseDer,
  partsOf,
  sequence,
  set,
  time,
  utf8,
} from './der.ts'
import { OID } from './object-identifiers.ts'

export interface SubjectAltNames {
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  readonly ips?: readonly string[]
}

export interface Subject {
  readonly organization?: string
  readonly commonName?: string
}

export interface SigningRequest {
  /** Who signs; without a certificate it is a self-signed one, with `subject` as its own issuer. */
  readonly issuer: { readonly key: KeyObject; readonly certificate?: Certificate }
  readonly publicKey: KeyObject
  /** Left out: empty, and the alternative name critical, as RFC 5280 section 4.2.1.6 wants. */
  readonly subject?: Subject
  readonly sans?: SubjectAltNames
  /** May sign certificates. */
  readonly ca?: boolean
  readonly usages?: readonly ('serverAuth' | 'clientAuth')[]
  /** Milliseconds since the epoch, rounded down to seconds. */
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** An X.509 v3 certificate with a random serial number of 128 bits. Throws `X509_KEY` for a key that cannot sign. */
export function signCertificate(request: SigningRequest): Certificate {
  const { issuer } = request
  const algorithm = algorithmOf(issuer.key)
  const subject = nameOf(request.subject ?? {})
  const issuerName =
    issuer.certificate === undefined
      ? subject
      : parseDer(issuer.certificate.subject, 'the name of the issuer')
  const spki = parseDer(request.publicKey.export({ type: 'spki', format: 'der' }), 'the public key')
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    algorithm.node(),
    issuerName,
    sequence(time(request.notBeforeMs), time(request.notAfterMs)),
    subject,
    spki,
    explicit(3, sequence(...extensionsOf(request, spki))),
  )
  const signature = sign(algorithm.hash, encodeDer(body), issuer.key)
  return parseCertificate(encodeDer(sequence(body, algorithm.node(), bits(signature))))
}

interface SignatureAlgorithm {
  readonly hash: string
  node(): Node
}

function algorithmOf(key: KeyObject): SignatureAlgorithm {
  if (key.asymmetricKeyType === 'rsa') {
    return { hash: 'sha256', node: () => sequence(oid(OID.rsaWithSha256), empty()) }
  }
  if (key.asymmetricKeyType === 'ec') {
    const large = key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
    const id = large ? OID.ecdsaWithSha384 : OID.ecdsaWithSha256
    return { hash: large ? 'sha384' : 'sha256', node: () => sequence(oid(id)) }
  }
  const type = key.asymmetricKeyType ?? 'unknown'
  throw new AmbitError('X509_KEY', `a key of type ${type} cannot sign certificates; use EC or RSA`)
}

/** Positive, of full length whatever the random bits are, so that its encoding is the shortest. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes
}

function nameOf(subject: Subject): Node {
  const parts = [
    [OID.organization, subject.organization],
    [OID.commonName, subject.commonName],
  ] as const
  const present = parts.flatMap(([id, text]) =>
    text === undefined ? [] : [set(sequence(oid(id), utf8(text)))],
  )
  return sequence(...present)
}

function extensionsOf(request: SigningRequest, spki: Node): Node[] {
  const { issuer, usages = [], ca = false, sans = {} } = request
  const keyId = keyIdOf(spki)
  const authority = issuer.certificate?.subjectKeyId ?? (issuer.certificate ? undefined : keyId)
  const names = generalNames(sans)
  const list = [
    ca
      ? extension(OID.keyUsage, true, bits(Buffer.from([0b0000_0110]), 1))
      : extension(OID.keyUsage, true, bits(Buffer.from([0b1010_0000]), 5)),
    ca
      ? extension(OID.basicConstraints, true, sequence(boolean(true)))
      : extension(OID.basicConstraints, true, sequence()),
    extension(OID.subjectKeyIdentifier, false, octets(keyId)),
  ]
  if (usages.length > 0) {
    const ids = usages.map((usage) => oid(OID[usage]))
    list.push(extension(OID.extendedKeyUsage, false, sequence(...ids)))
  }
  if (authority !== undefined) {
    list.push(extension(OID.authorityKeyIdentifier, false, sequence(implicit(0, authority))))
  }
  if (names.length > 0) {
    const critical = Object.keys(request.subject ?? {}).length === 0
    list.push(extension(OID.subjectAltName, critical, sequence(...names)))
  }
  return list
}

const extension = (id: string, critical: boolean, value: Node): Node =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(encodeDer(value)))

const generalNames = ({ uris = [], dns = [], ips = [] }: SubjectAltNames): Node[] => [
  ...uris.map((uri) => implicit(6, Buffer.from(uri, 'ascii'))),
  ...dns.map((name) => implicit(2, Buffer.from(name, 'ascii'))),
  ...ips.map((ip) => implicit(7, addressBytes(ip))),
]

function addressBytes(ip: string): Buffer {
  const family = isIP(ip)
  if (family === 4) return Buffer.from(ip.split('.').map(Number))
  if (family !== 6) throw new AmbitError('X509_NAME', `${ip} is not an IP address`)
  // The URL parser writes the canonical form, with any dotted tail turned into groups.
  const [head = '', tail] = new URL(`http://[${ip}]`).hostname.slice(1, -1).split('::')
  const groups = (text: string | undefined): string[] =>
    text === undefined || text === '' ? [] : text.split(':')
  const left = groups(head)
  const right = groups(tail)
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  const all = [...left, ...(tail === undefined ? [] : zeros), ...right]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

/** Method 1 of RFC 5280 section 4.2.1.2. */
function keyIdOf(spki: Node): Buffer {
  const [, key] = partsOf(spki, 'the public key')
  return createHash('sha1').update(bitsOf(key, 'the public key')).digest()
}
