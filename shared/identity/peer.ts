import type { TLSSocket } from 'node:tls'
import { codeOf, describeError } from '../runtime/errors.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import { parseSpiffeId, type SpiffeId } from './spiffe.ts'

/** What a verifier demands of a peer's identity. */
export type Expectation =
  /** As a server: any workload of these trust domains. */
  | { readonly trustDomains: readonly string[] }
  /** As a client: one of these SPIFFE ids; an empty list refuses everyone. */
  | { readonly identities: readonly string[] }

/** Stable names of what can be wrong with a peer. */
export type PeerFault =
  | 'no-certificate'
  | 'malformed'
  | 'no-spiffe-san'
  | 'several-sans'
  | 'foreign-trust-domain'
  | 'unexpected-identity'
  | 'expired'
  | 'not-yet-valid'
  | 'self-signed'
  | 'unknown-authority'
  | 'wrong-usage'
  | 'bad-signature'
  | 'no-alpn'
  | 'handshake'

export interface Refused {
  readonly kind: 'refused'
  readonly reason: PeerFault
  /** For the log: says what was found and what was wanted. */
  readonly text: string
}

export type PeerVerdict = { readonly kind: 'accepted'; readonly id: SpiffeId } | Refused

/**
 * Whether the certificate (DER) proves an identity that is expected. Says nothing about its chain or validity: that
 * is OpenSSL's part, in the handshake. The names are read from the DER, never from a rendering of it.
 */
export function verifyPeer(der: Uint8Array, expected: Expectation): PeerVerdict {
  let certificate: Certificate
  try {
    certificate = parseCertificate(der)
  } catch (error) {
    return refused('malformed', `the peer's certificate cannot be read: ${describeError(error)}`)
  }
  const { uris } = certificate
  const [uri] = uris
  if (uri === undefined) return refused('no-spiffe-san', "the peer's certificate has no SPIFFE URI")
  if (uris.length > 1) {
    return refused(
      'several-sans',
      `the peer's certificate has ${uris.length} URIs where exactly one is allowed: ${listed(uris)}`,
    )
  }
  const id = parseSpiffeId(uri)
  if (id === undefined) {
    return refused(
      'no-spiffe-san',
      `the peer's URI is not a workload's SPIFFE id: ${listed([uri])}`,
    )
  }
  return 'identities' in expected
    ? matchIdentity(id, expected.identities)
    : matchTrustDomain(id, expected.trustDomains)
}

function matchIdentity(id: SpiffeId, identities: readonly string[]): PeerVerdict {
  if (identities.includes(id.text)) return { kind: 'accepted', id }
  const wanted = identities.length === 0 ? 'none is expected' : `expected ${listed(identities)}`
  return refused('unexpected-identity', `the peer is ${id.text}, ${wanted}`)
}

function matchTrustDomain(id: SpiffeId, trustDomains: readonly string[]): PeerVerdict {
  if (trustDomains.includes(id.trustDomain)) return { kind: 'accepted', id }
  return refused(
    'foreign-trust-domain',
    `the peer ${id.text} is of another trust domain than ${listed(trustDomains)}`,
  )
}

/**
 * The server's check of a client after the handshake: the chain was verified, the protocol is HTTP/2, and the
 * identity is of our own trust domain or one of its `aliases`.
 */
export function verifyClient(
  tls: TLSSocket,
  own: { readonly trustDomain: string; readonly aliases?: readonly string[] },
): PeerVerdict {
  if (!tls.authorized) return handshakeFault(tls.authorizationError)
  if (tls.alpnProtocol !== 'h2') return refused('no-alpn', 'the peer did not negotiate h2')
  const der = tls.getPeerX509Certificate()?.raw
  if (der === undefined) return refused('no-certificate', 'the peer sent no certificate')
  return verifyPeer(der, { trustDomains: [own.trustDomain, ...(own.aliases ?? [])] })
}

/**
 * Names the fault of a handshake that failed, for the log. On the server `error` only says that the connection
 * ended, and the reason is on the socket.
 */
export const describeHandshakeFailure = (error: unknown, tls?: TLSSocket): string =>
  faultOfHandshake(error, tls).text

export function faultOfHandshake(error: unknown, tls?: TLSSocket): Refused {
  const reason: unknown = tls?.authorizationError
  if (reason !== undefined && reason !== null) return handshakeFault(reason)
  return handshakeFault(error)
}

/** Verification codes of OpenSSL and error codes of its handshake, as Node hands them out. */
const FAULTS: ReadonlyMap<string, readonly [PeerFault, string]> = new Map([
  ['CERT_HAS_EXPIRED', ['expired', "the peer's certificate has expired"]],
  ['CERT_NOT_YET_VALID', ['not-yet-valid', "the peer's certificate is not valid yet"]],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', ['self-signed', "the peer's certificate is self-signed"]],
  ['SELF_SIGNED_CERT_IN_CHAIN', unknownAuthority()],
  ['UNABLE_TO_GET_ISSUER_CERT', unknownAuthority()],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', unknownAuthority()],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', unknownAuthority()],
  ['CERT_UNTRUSTED', unknownAuthority()],
  [
    'INVALID_CA',
    ['unknown-authority', "the peer's certificate was issued by one that is not a CA"],
  ],
  ['INVALID_PURPOSE', ['wrong-usage', "the peer's certificate is not for this side of TLS"]],
  ['CERT_SIGNATURE_FAILURE', ['bad-signature', "the signature of the peer's certificate is wrong"]],
  ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', ['no-certificate', 'the peer sent no certificate']],
  ['ERR_SSL_NO_APPLICATION_PROTOCOL', ['no-alpn', 'the peer does not offer h2']],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', ['handshake', 'the peer does not speak TLS 1.3']],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', ['handshake', 'the peer does not speak TLS 1.3']],
  ['ERR_SSL_HTTP_REQUEST', ['handshake', 'the peer speaks plain HTTP, not TLS']],
  ['ERR_SSL_WRONG_VERSION_NUMBER', ['handshake', 'the peer does not speak TLS']],
  ['ERR_TLS_HANDSHAKE_TIMEOUT', ['handshake', 'the handshake took too long']],
  ['ECONNRESET', ['handshake', 'the peer closed the connection during the handshake']],
])

function unknownAuthority(): readonly [PeerFault, string] {
  return [
    'unknown-authority',
    "the peer's certificate was issued by an authority that is not trusted",
  ]
}

function handshakeFault(thrown: unknown): Refused {
  const code = typeof thrown === 'string' ? thrown : codeOf(thrown)
  const known = code === undefined ? undefined : FAULTS.get(code)
  if (known !== undefined) return refused(known[0], `${known[1]} (${code})`)
  return refused('handshake', describeError(thrown) || 'the handshake failed')
}

const refused = (reason: PeerFault, text: string): Refused => ({ kind: 'refused', reason, text })

/** Bounded: what a peer wrote must not fill the log. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 4).map((name) => JSON.stringify(name.slice(0, 256)))
  return names.length > shown.length ? `${shown.join(', ')}, ...` : shown.join(', ')
}
