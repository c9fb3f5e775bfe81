import { constants } from 'node:crypto'
import type { ConnectionOptions, TlsOptions } from 'node:tls'
import { AmbitError } from '../runtime/errors.ts'
import type { TlsMaterial } from './identity-material.ts'
import { type PeerFault, verifyPeer } from './peer.ts'

/**
 * What both sides of an HBONE connection have in common (ztunnel spec, section 1.2). All of it goes into every
 * context, at start and at rotation alike: `setSecureContext` resets what is left out, and TLS 1.2 with it.
 */
const contextOptions = (material: TlsMaterial) =>
  ({
    key: material.keyPem,
    cert: material.chainPem,
    ca: material.rootsPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256',
    ecdhCurve: 'X25519MLKEM768:X25519:P-256',
    // A resumed session would skip the verification of the peer.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ALPNProtocols: ['h2'],
    rejectUnauthorized: true,
  }) satisfies TlsOptions

/**
 * Complete options of the server side; also for `setSecureContext`. The chain and validity of the client are
 * verified in the handshake, its identity afterwards with `verifyClient`.
 */
export const serverTlsOptions = (material: TlsMaterial): TlsOptions => ({
  ...contextOptions(material),
  ALPNProtocols: ['h2'],
  requestCert: true,
})

/**
 * Complete options of the client side; only the socket is to be added. The peer has to prove one of the `expected`
 * SPIFFE ids, else the handshake fails with an `AmbitError` that
 * names the fault (`PEER_UNEXPECTED_IDENTITY`, ...); names of hosts mean nothing.
 */
export const clientTlsOptions = (
  material: TlsMaterial,
  expected: readonly string[],
): ConnectionOptions => ({
  ...contextOptions(material),
  ALPNProtocols: ['h2'],
  servername: '',
  checkServerIdentity: (_host, certificate) => {
    const verdict = verifyPeer(certificate.raw, { identities: expected })
    if (verdict.kind === 'accepted') return undefined
    return new AmbitError(peerErrorCode(verdict.reason), verdict.text)
  },
})

const peerErrorCode = (fault: PeerFault): string =>
  `PEER_${fault.toUpperCase().replaceAll('-', '_')}`
