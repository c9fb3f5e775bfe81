import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import {
  type ConnectionOptions,
  connect,
  createServer,
  type Server,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { codeOf } from '../runtime/errors.ts'
import { faultOfHandshake, type PeerFault, verifyClient, verifyPeer } from './peer.ts'
import { BAD_CERTIFICATES, type BadCertificate, TestingAuthority } from './testing-authority.ts'
import { clientTlsOptions, serverTlsOptions } from './tls-options.ts'

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/orders'
const SERVER = 'spiffe://cluster.local/ns/shop/sa/payments'
const authority = new TestingAuthority({ intermediate: true })
const clientMaterial = authority.material(CLIENT)
const serverMaterial = authority.material(SERVER)

/** What one attempt came to, on each side. */
interface Outcome {
  /** Undefined when the server never finished a handshake. */
  readonly server: ReturnType<typeof verifyClient> | ReturnType<typeof faultOfHandshake>
  readonly client: Error | TLSSocket
}

const open: { close(): void }[] = []
afterEach(() => {
  for (const one of open.splice(0)) one.close()
})

async function listen(options: TlsOptions): Promise<Server> {
  const server = createServer(options)
  server.on('secureConnection', (tls) => {
    open.push({ close: () => tls.destroy() })
    tls.on('error', () => undefined)
    tls.resume()
  })
  open.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

async function attempt(server: Server, options: ConnectionOptions): Promise<Outcome> {
  const verdict = new Promise<Outcome['server']>((resolve) => {
    const onSecure = (tls: TLSSocket): void => {
      server.off('tlsClientError', onFault)
      resolve(verifyClient(tls, { trustDomain: 'cluster.local' }))
    }
    const onFault = (error: Error, tls: TLSSocket): void => {
      server.off('secureConnection', onSecure)
      resolve(faultOfHandshake(error, tls))
    }
    server.once('secureConnection', onSecure)
    server.once('tlsClientError', onFault)
  })
  const client = connect({ host: '127.0.0.1', port: portOf(server), ...options })
  open.push({ close: () => client.destroy() })
  const result = new Promise<Error | TLSSocket>((resolve) => {
    client.once('secureConnect', () => resolve(client))
    client.on('error', resolve)
  })
  const ends = await Promise.all([verdict, result])
  return { server: ends[0], client: ends[1] }
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

describe('a handshake with both identities right', () => {
  test('is TLS 1.3 with h2 and a strong suite, and tells each side who the other is', async () => {
    const server = await listen(serverTlsOptions(serverMaterial))
    const { server: verdict, client } = await attempt(
      server,
      clientTlsOptions(clientMaterial, [SERVER]),
    )
    expect(verdict).toMatchObject({ kind: 'accepted', id: { text: CLIENT } })
    if (client instanceof Error) throw client
    expect(client.getProtocol()).toBe('TLSv1.3')
    expect(client.alpnProtocol).toBe('h2')
    expect(client.getCipher().name).toBe('TLS_AES_256_GCM_SHA384')
    expect(client.getEphemeralKeyInfo()).toMatchObject({ name: 'X25519MLKEM768' })
    expect(client.servername).toBe(false)
  })

  test('takes one of several expected identities', async () => {
    const server = await listen(serverTlsOptions(serverMaterial))
    const options = clientTlsOptions(clientMaterial, [CLIENT, SERVER])
    const { client } = await attempt(server, options)
    expect(client).not.toBeInstanceOf(Error)
  })
})

const OF_OPENSSL: Partial<Record<BadCertificate, PeerFault>> = {
  expired: 'expired',
  'not-yet-valid': 'not-yet-valid',
  'self-signed': 'self-signed',
  'unknown-authority': 'unknown-authority',
}

describe('the server', () => {
  const expected: Record<BadCertificate, PeerFault | undefined> = {
    expired: 'expired',
    'not-yet-valid': 'not-yet-valid',
    'self-signed': 'self-signed',
    'unknown-authority': 'unknown-authority',
    'foreign-trust-domain': 'foreign-trust-domain',
    'no-spiffe-san': 'no-spiffe-san',
    'no-san': 'no-spiffe-san',
    'two-sans': 'several-sans',
    'server-only': 'wrong-usage',
    'client-only': undefined,
  }
  test.for(BAD_CERTIFICATES)('judges a client with a certificate that is %s', async (bad) => {
    const server = await listen(serverTlsOptions(serverMaterial))
    const material = authority.badMaterial(CLIENT, bad)
    const { server: verdict } = await attempt(server, clientTlsOptions(material, [SERVER]))
    const fault = expected[bad]
    if (fault === undefined) expect(verdict.kind).toBe('accepted')
    else expect(verdict).toMatchObject({ kind: 'refused', reason: fault })
  })

  test('accepts the trust domains that it is told are aliases', async () => {
    const server = await listen(serverTlsOptions(serverMaterial))
    const foreign = authority.badMaterial(CLIENT, 'foreign-trust-domain')
    const seen = once(server, 'secureConnection')
    await attempt(server, clientTlsOptions(foreign, [SERVER]))
    const [tls] = (await seen) as [TLSSocket]
    const own = { trustDomain: 'cluster.local', aliases: ['foreign.example'] }
    expect(verifyClient(tls, own).kind).toBe('accepted')
  })

  // A context that is built anew must not lose anything: what is left out falls back to Node's defaults.
  describe.for(['before', 'after'] as const)('%s a rotation', (when) => {
    const ready = async (): Promise<Server> => {
      const server = await listen(serverTlsOptions(serverMaterial))
      if (when === 'after') server.setSecureContext(serverTlsOptions(authority.material(SERVER)))
      return server
    }

    test('refuses a client without certificate', async () => {
      const { key: _key, cert: _cert, ...options } = clientTlsOptions(clientMaterial, [SERVER])
      const { server } = await attempt(await ready(), options)
      expect(server).toMatchObject({ kind: 'refused', reason: 'no-certificate' })
    })

    test('refuses TLS 1.2', async () => {
      const options = {
        ...clientTlsOptions(clientMaterial, [SERVER]),
        minVersion: 'TLSv1.2',
        maxVersion: 'TLSv1.2',
        ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256',
      } as const
      const { server, client } = await attempt(await ready(), options)
      expect(server).toMatchObject({ kind: 'refused', text: expect.stringContaining('TLS 1.3') })
      expect(codeOf(client)).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
    })

    test('refuses the suite that HBONE leaves out', async () => {
      const options = {
        ...clientTlsOptions(clientMaterial, [SERVER]),
        ciphers: 'TLS_CHACHA20_POLY1305_SHA256',
      }
      const { server } = await attempt(await ready(), options)
      expect(server.kind).toBe('refused')
    })

    test('refuses a client that offers other protocols only, or none', async () => {
      const options = clientTlsOptions(clientMaterial, [SERVER])
      const other = await attempt(await ready(), { ...options, ALPNProtocols: ['http/1.1'] })
      expect(other.server).toMatchObject({ kind: 'refused', reason: 'no-alpn' })
      const { ALPNProtocols: _none, ...without } = options
      const silent = await attempt(await ready(), without)
      expect(silent.server).toMatchObject({ kind: 'refused', reason: 'no-alpn' })
    })

    test('does not resume a session', async () => {
      const server = await ready()
      const options = clientTlsOptions(clientMaterial, [SERVER])
      const session = await savedSession(server, options)
      const { client } = await attempt(server, { ...options, session })
      if (client instanceof Error) throw client
      expect(client.isSessionReused()).toBe(false)
    })

    test('names the fault of what is not TLS', async () => {
      const server = await ready()
      const fault = once(server, 'tlsClientError')
      const socket = connectTcp(portOf(server), '127.0.0.1', () =>
        socket.write('GET / HTTP/1.1\r\n\r\n'),
      )
      open.push({ close: () => socket.destroy() })
      socket.on('error', () => undefined)
      const [error, tls] = (await fault) as [Error, TLSSocket]
      expect(faultOfHandshake(error, tls).text).toContain('plain HTTP')
    })
  })

  test('keeps open connections through a rotation and shows new ones the new certificate', async () => {
    const server = await listen(serverTlsOptions(serverMaterial))
    const options = clientTlsOptions(clientMaterial, [SERVER])
    const first = await attempt(server, options)
    const renewed = authority.material(SERVER)
    server.setSecureContext(serverTlsOptions(renewed))
    let shown: Buffer | undefined
    const second = await attempt(server, {
      ...options,
      checkServerIdentity: (_host, certificate) => {
        shown = certificate.raw
        return undefined
      },
    })
    if (first.client instanceof Error || second.client instanceof Error) throw new Error('refused')
    expect(first.client.destroyed).toBe(false)
    expect(first.client.writable).toBe(true)
    expect(shown?.equals(renewed.chain[0].raw)).toBe(true)
  })
})

describe('the client', () => {
  const codes: Record<BadCertificate, string | undefined> = {
    'foreign-trust-domain': 'PEER_UNEXPECTED_IDENTITY',
    expired: 'CERT_HAS_EXPIRED',
    'not-yet-valid': 'CERT_NOT_YET_VALID',
    'no-spiffe-san': 'PEER_NO_SPIFFE_SAN',
    'no-san': 'PEER_NO_SPIFFE_SAN',
    'two-sans': 'PEER_SEVERAL_SANS',
    'self-signed': 'DEPTH_ZERO_SELF_SIGNED_CERT',
    'unknown-authority': 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'server-only': undefined,
    'client-only': 'INVALID_PURPOSE',
  }
  test.for(BAD_CERTIFICATES)('judges a server with a certificate that is %s', async (bad) => {
    const server = await listen(serverTlsOptions(authority.badMaterial(SERVER, bad)))
    const error = await refusal(server, clientTlsOptions(clientMaterial, [SERVER]))
    const code = codes[bad]
    if (bad === 'unknown-authority') {
      expect(faultOfHandshake(error)).toMatchObject({ reason: 'unknown-authority' })
      return
    }
    expect(codeOf(error)).toBe(code)
    const fault = OF_OPENSSL[bad]
    if (fault !== undefined) expect(faultOfHandshake(error).reason).toBe(fault)
  })

  test('refuses another identity, and everyone when none is expected', async () => {
    const server = await listen(serverTlsOptions(serverMaterial))
    for (const expected of [[CLIENT], []]) {
      const error = await refusal(server, clientTlsOptions(clientMaterial, expected))
      expect(codeOf(error)).toBe('PEER_UNEXPECTED_IDENTITY')
      expect(error?.message).toContain(SERVER)
    }
  })
})

test('a certificate that cannot be read is refused as malformed', () => {
  const verdict = verifyPeer(Buffer.from('junk'), { trustDomains: ['cluster.local'] })
  expect(verdict).toMatchObject({ kind: 'refused', reason: 'malformed' })
})

async function refusal(server: Server, options: ConnectionOptions): Promise<Error | undefined> {
  const client = connect({ host: '127.0.0.1', port: portOf(server), ...options })
  open.push({ close: () => client.destroy() })
  return await new Promise((resolve) => {
    client.once('secureConnect', () => resolve(undefined))
    client.once('error', resolve)
  })
}

/** A session that a client of ours could have saved; the server may still hand out such. */
async function savedSession(server: Server, options: ConnectionOptions): Promise<Buffer> {
  const client = connect({ host: '127.0.0.1', port: portOf(server), ...options })
  open.push({ close: () => client.destroy() })
  const ticket = once(client, 'session')
  await once(client, 'secureConnect')
  const [session] = (await ticket) as [Buffer]
  return session
}
