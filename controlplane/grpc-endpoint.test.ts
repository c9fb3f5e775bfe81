import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type SecureVersion } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FakeClock } from '../shared/runtime/clock.ts'
import { createLog } from '../shared/runtime/log.ts'
import { Authority } from './ca/authority.ts'
import { GrpcEndpoint } from './grpc-endpoint.ts'

const DAY_MS = 86_400_000

describe('the gRPC port', () => {
  let directory: string
  let endpoint: GrpcEndpoint
  let roots: string
  let issued = 0
  const lines: string[] = []
  const clock = new FakeClock(Date.now())

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambit-grpc-'))
    const authority = Authority.open({
      stateDir: join(directory, 'state'),
      trustDomain: 'cluster.local',
      clock,
    })
    roots = authority.rootsPem
    issued = 0
    endpoint = new GrpcEndpoint({
      listen: { host: '127.0.0.1', port: 0 },
      issue: () => {
        issued++
        return authority.issueServer({ dns: [`name-${issued}`], ips: ['127.0.0.1'] })
      },
      serve: () => undefined,
      endStreams: () => undefined,
      clock,
      log: createLog({ level: 'info', format: 'json', write: (line) => void lines.push(line) }),
    })
    await endpoint.start()
  })

  afterEach(async () => {
    const gone = endpoint[Symbol.asyncDispose]()
    clock.advance(1_000)
    await gone
    await rm(directory, { recursive: true, force: true })
  })

  /** The name in the certificate that a client sees. */
  const seen = async (version: SecureVersion = 'TLSv1.3'): Promise<string | undefined> => {
    const socket = connect({
      host: '127.0.0.1',
      port: endpoint.port,
      ca: roots,
      minVersion: 'TLSv1.2',
      maxVersion: version,
      ALPNProtocols: ['h2'],
    })
    try {
      await once(socket, 'secureConnect')
      return socket.getPeerCertificate().subjectaltname
    } finally {
      socket.destroy()
    }
  }

  test('renews its certificate at half life, without a new port', async () => {
    const { port } = endpoint
    expect(await seen()).toContain('DNS:name-1')
    clock.advance(44 * DAY_MS)
    expect(issued).toBe(1)
    clock.advance(2 * DAY_MS)
    expect(issued).toBe(2)
    expect(endpoint.port).toBe(port)
  })

  test('shows the new certificate to new connections, and still takes TLS 1.3 only', async () => {
    await expect(seen('TLSv1.2')).rejects.toThrow()
    // Half of the lifetime, seen from a clock that real TLS does not follow: the old one is still good.
    clock.advance(46 * DAY_MS)
    expect(issued).toBe(2)
    await expect(seen('TLSv1.2')).rejects.toThrow(/protocol version|disconnected|alert/i)
  })

  /** Connects, says something, and reads to the end. */
  const say = async (bytes: Buffer) => {
    const socket = connectTcp(endpoint.port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.resume().write(bytes)
    return { self: `127.0.0.1:${socket.localPort}`, closed: once(socket, 'close') }
  }
  const PLAIN_HTTP = Buffer.from('GET / HTTP/1.1\r\n\r\n')

  test('names who speaks no TLS, and what it was instead', async () => {
    const { self, closed } = await say(PLAIN_HTTP)
    await closed
    expect(lines.map((line) => JSON.parse(line) as unknown)).toContainEqual(
      expect.objectContaining({
        level: 'warn',
        peer: self,
        error: expect.stringContaining('plain HTTP'),
      }),
    )
  })

  test('ends without waiting for a handshake that is not going on', async () => {
    const halfway = await say(Buffer.from([0x16, 3, 1]))
    // Connections are taken in their order, so the first is known by now.
    const later = await say(PLAIN_HTTP)
    await later.closed
    const gone = endpoint[Symbol.asyncDispose]()
    clock.advance(1_000)
    await Promise.all([gone, halfway.closed])
  })
})
