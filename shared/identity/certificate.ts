import {
  bitsOf,
  booleanOf,
  bytesOf,
  contextTagOf,
  encodeDer,
  integerOf,
  isTag,
  malformed,
  type Node,
  octetsOf,
  oidOf,
  parseDer,
  partsOf,
  timeOf,
} from './der.ts'
import { asn1 } from './forge-asn1.ts'
import { OID } from './object-identifiers.ts'
import { formatPem, parsePem } from './pem.ts'

/** What ambit reads of an X.509 certificate (RFC 5280), from its DER. */
export interface Certificate {
  readonly raw: Buffer
  readonly pem: string
  /** Decimal. */
  readonly serialNumber: string
  /** Milliseconds since the epoch, both. */
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** URIs of the subject alternative name, in order. */
  readonly uris: readonly string[]
  readonly dnsNames: readonly string[]
  readonly isCa: boolean
  /** DER. */
  readonly subject: Buffer
  readonly issuer: Buffer
  readonly publicKeyInfo: Buffer
  readonly subjectKeyId: Buffer | undefined
}

/** No certificate of a mesh comes near this; it bounds the work that a peer can cause. */
const MAX_BYTES = 64 * 1024

/** Parses one certificate in DER. Throws `X509_MALFORMED`. */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_BYTES) throw malformed('the certificate is too large')
  const raw = Buffer.from(der)
  const [tbs, , signature, ...rest] = partsOf(parseDer(raw, 'the certificate'), 'the certificate')
  if (rest.length > 0) throw malformed('the certificate has more than three parts')
  bitsOf(signature, 'the signature')
  const fields = partsOf(tbs, 'the certificate body')
  if (!isTag(fields[0], { type: 0, context: true })) {
    throw malformed('the certificate is not of version 3')
  }
  const [version, serial, , issuer, validity, subject, key, ...more] = fields
  if (versionOf(version) !== 2) throw malformed('the certificate is not of version 3')
  const [notBefore, notAfter] = partsOf(validity, 'the validity')
  partsOf(issuer, 'the issuer')
  partsOf(subject, 'the subject')
  partsOf(key, 'the public key')
  const extensions = readExtensions(extensionsOf(more))
  const names = namesOf(extensions.get(OID.subjectAltName))
  return {
    raw,
    pem: formatPem('CERTIFICATE', raw),
    serialNumber: decimal(integerOf(serial, 'the serial number')),
    notBeforeMs: timeOf(notBefore, 'the begin of validity'),
    notAfterMs: timeOf(notAfter, 'the end of validity'),
    ...names,
    isCa: isCaOf(extensions.get(OID.basicConstraints)),
    subject: encoded(subject),
    issuer: encoded(issuer),
    publicKeyInfo: encoded(key),
    subjectKeyId: keyIdOf(extensions.get(OID.subjectKeyIdentifier)),
  }
}

/** The certificates of a PEM text, in order. Throws `X509_MALFORMED`, also when there is none. */
export function parseCertificates(pem: string, what: string): Certificate[] {
  const blocks = parsePem(pem, ['CERTIFICATE'])
  if (blocks.length === 0) throw malformed(`${what} holds no certificate`)
  return blocks.map((block) => parseCertificate(block))
}

function versionOf(node: Node | undefined): number {
  const [version] = partsOf(node, 'the version', { type: 0, context: true })
  return Number(decimal(integerOf(version, 'the version')))
}

/** After the public key come two optional unique ids, then the extensions as `[3]`. */
function extensionsOf(fields: readonly Node[]): Node | undefined {
  const tags = fields.map((field) => contextTagOf(field) ?? 0)
  const inOrder = tags.every((tag, index) => tag >= 1 && tag <= 3 && tag > (tags[index - 1] ?? 0))
  if (!inOrder) throw malformed('the certificate has an unknown part')
  const last = fields.at(-1)
  if (last === undefined || contextTagOf(last) !== 3) return undefined
  const [list, ...more] = partsOf(last, 'the extensions', { type: 3, context: true })
  if (list === undefined || more.length > 0) throw malformed('the extensions are not one list')
  return list
}

/** Values by object identifier; a second one of a kind would leave open which of the two counts. */
export function readExtensions(list: Node | undefined): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>()
  if (list === undefined) return found
  for (const item of partsOf(list, 'the extensions')) {
    const parts = partsOf(item, 'an extension')
    const id = oidOf(parts[0], 'the name of an extension')
    if (parts.length < 2 || parts.length > 3) throw malformed(`extension ${id} has a wrong form`)
    if (parts.length === 3) booleanOf(parts[1], `the criticality of extension ${id}`)
    if (found.has(id)) throw malformed(`extension ${id} is there twice`)
    found.set(id, octetsOf(parts.at(-1), `the value of extension ${id}`))
  }
  return found
}

type Names = Pick<Certificate, 'uris' | 'dnsNames'>

/** GeneralNames of RFC 5280 section 4.2.1.6. */
function namesOf(value: Buffer | undefined): Names {
  const uris: string[] = []
  const dnsNames: string[] = []
  if (value === undefined) return { uris, dnsNames }
  const what = 'the subject alternative name'
  const names = partsOf(parseDer(value, what), what)
  if (names.length === 0) throw malformed(`${what} is empty`)
  for (const name of names) {
    const tag = contextTagOf(name)
    if (tag === undefined || tag > 8) {
      throw malformed(`${what} holds an unknown kind of name`)
    }
    if (tag === 6) uris.push(asciiOf(name, 'a URI'))
    if (tag === 2) dnsNames.push(asciiOf(name, 'a DNS name'))
  }
  return { uris, dnsNames }
}

function asciiOf(node: Node, what: string): string {
  const text = bytesOf(node, what, { type: node.type, context: true }).toString('latin1')
  if (!/^[\x21-\x7e]+$/.test(text)) throw malformed(`${what} is empty or not printable ASCII`)
  return text
}

function isCaOf(value: Buffer | undefined): boolean {
  if (value === undefined) return false
  const [first] = partsOf(parseDer(value, 'the basic constraints'), 'the basic constraints')
  const type = asn1.Type.BOOLEAN
  return isTag(first, { type }) && booleanOf(first, 'the basic constraints')
}

function keyIdOf(value: Buffer | undefined): Buffer | undefined {
  if (value === undefined) return undefined
  return octetsOf(parseDer(value, 'the subject key id'), 'the subject key id')
}

function encoded(node: Node | undefined): Buffer {
  if (node === undefined) throw malformed('the certificate is cut off')
  return encodeDer(node)
}

const decimal = (bytes: Buffer): string => BigInt(`0x${bytes.toString('hex')}`).toString()
