import { once } from 'node:events'
import { connect, constants, type Http2Stream, performServerHandshake } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { silentLog } from '../runtime/log.ts'
import { connectHbone } from './client.ts'
import { errorCodeName } from './frame.ts'
import { serveHbone } from './server.ts'
import { tlsPair } from './testing-tls.ts'
import { endOf, fill, hbonePair, readToEnd } from './testing-tunnel.ts'
import type { Tunnel } from './tunnel.ts'

const boom = new Error('boom')
const request = { authority: '10.0.0.1:80', headers: {} }

interface Ends extends Disposable {
  /** The tunnel under test. */
  readonly ours: Tunnel
  /** What the other end reads and writes. */
  readonly peer: Http2Stream | Tunnel['stream']
  readonly tcp: {
    readonly client: Socket
    readonly server: Socket
  }
}

/** Every way a tunnel of ours can face a peer: our own code, or node:http2 as it is. */
const setups: readonly [string, () => Promise<Ends>][] = [
  [
    'our client and our server, client end',
    async () => {
      const pair = await hbonePair()
      const { client, server } = await pair.open()
      return ends(client, server.stream, pair.tls)
    },
  ],
  [
    'our client and our server, server end',
    async () => {
      const pair = await hbonePair()
      const { client, server } = await pair.open()
      return ends(server, client.stream, pair.tls)
    },
  ],
  [
    'our client and a node:http2 server',
    async () => {
      const tls = await tlsPair()
      const session = performServerHandshake(tls.server, {})
      session.on('error', () => undefined)
      const arrived = once(session, 'stream')
      const client = await connectHbone(tls.client, { log: silentLog, handshakeTimeoutMs: 5_000 })
      const opening = client.open(request, AbortSignal.timeout(5_000))
      const [stream] = await arrived
      stream.respond({ ':status': 200 })
      stream.read(0)
      stream.on('error', () => undefined)
      return ends(await opening, stream, tls)
    },
  ],
  [
    'our server and a node:http2 client',
    async () => {
      const tls = await tlsPair()
      const accepted = new Promise<Tunnel>((resolve) => {
        serveHbone(tls.server, (tunnel) => resolve(tunnel.accept({})), { log: silentLog })
      })
      const session = connect('https://peer', { createConnection: () => tls.client })
      session.on('error', () => undefined)
      const stream = session.request({ ':method': 'CONNECT', ':authority': '10.0.0.1:80' })
      stream.on('error', () => undefined)
      await once(stream, 'response')
      return ends(await accepted, stream, tls)
    },
  ],
]

/** The code of the reset that a peer saw. */
function resetOf(peer: Ends['peer']): string {
  if ('rstCode' in peer) return errorCodeName(peer.rstCode ?? -1)
  return /reset the tunnel \((\w+)\)/.exec(peer.errored?.message ?? '')?.[1] ?? 'none'
}

async function closing(stream: Duplex): Promise<void> {
  // Not `closed`: node:http2 gives that another meaning.
  if (stream.destroyed) return
  await new Promise<void>((resolve) => stream.once('close', () => resolve()))
}

function ends(
  ours: Tunnel,
  peer: Ends['peer'],
  tls: { tcp: Ends['tcp']; [Symbol.dispose](): void },
): Ends {
  return { ours, peer, tcp: tls.tcp, [Symbol.dispose]: () => tls[Symbol.dispose]() }
}

describe.each(setups)('a tunnel: %s', (_name, setup) => {
  test('half-closes from our side, and data still comes the other way', async () => {
    using both = await setup()
    both.ours.stream.end('question')
    expect(await readToEnd(both.peer)).toEqual({ bytes: 8, how: 'end' })
    both.peer.write('first ')
    await once(both.ours.stream, 'readable')
    both.peer.end('second')
    expect(await readToEnd(both.ours.stream)).toEqual({ bytes: 12, how: 'end' })
    await closing(both.ours.stream)
    expect(both.ours.stream.errored).toBeNull()
  })

  test('half-closes from the peer, and data still goes the other way', async () => {
    using both = await setup()
    both.peer.end('question')
    expect(await readToEnd(both.ours.stream)).toEqual({ bytes: 8, how: 'end' })
    both.ours.stream.write(Buffer.alloc(300_000))
    both.ours.stream.end('answer')
    expect(await readToEnd(both.peer)).toEqual({ bytes: 300_006, how: 'end' })
  })

  test('loses nothing at the end of 5 MB in both directions', async () => {
    using both = await setup()
    both.ours.stream.end(Buffer.alloc(5_000_000))
    both.peer.end(Buffer.alloc(5_000_001))
    const [theirs, ours] = await Promise.all([readToEnd(both.peer), readToEnd(both.ours.stream)])
    expect(theirs).toEqual({ bytes: 5_000_000, how: 'end' })
    expect(ours).toEqual({ bytes: 5_000_001, how: 'end' })
  })

  test('cut reaches the peer as an error with CONNECT_ERROR, and ours as one', async () => {
    using both = await setup()
    both.ours.stream.write('partial')
    const [peerEnd, ourEnd] = [closing(both.peer), endOf(both.ours.stream)]
    both.ours.cut(boom)
    both.ours.cut(boom)
    expect(await ourEnd).toBe('HBONE_RESET')
    both.peer.resume()
    await peerEnd
    expect(resetOf(both.peer)).toBe('CONNECT_ERROR')
    expect(both.peer.errored).not.toBeNull()
  })

  test('cut after our own end, with data still queued, reaches the peer as an error', async () => {
    using both = await setup()
    await fill(both.ours.stream)
    both.ours.stream.end('never to be seen')
    const closed = closing(both.peer)
    both.ours.cut(boom)
    await closed
    expect(resetOf(both.peer)).toBe('CONNECT_ERROR')
  })

  test('cut after a clean end changes nothing', async () => {
    using both = await setup()
    both.ours.stream.end('all of it')
    both.peer.end('all of it')
    const ours = readToEnd(both.ours.stream)
    if (!both.ours.stream.writableFinished) await once(both.ours.stream, 'finish')
    expect((await ours).how).toBe('end')
    both.ours.cut(boom)
    expect(await readToEnd(both.peer)).toEqual({ bytes: 9, how: 'end' })
  })

  test('a connection that is reset is an error', async () => {
    using both = await setup()
    both.ours.stream.end('question')
    await readToEnd(both.peer)
    const outcome = readToEnd(both.ours.stream)
    both.tcp.client.resetAndDestroy()
    both.tcp.server.destroy()
    expect((await outcome).how).toMatch(/^HBONE_CLOSED$/)
  })

  test('a reader that stops, stops the writer within the window', async () => {
    using both = await setup()
    const sent = await fill(both.ours.stream)
    expect(sent).toBeLessThan(4 * 1024 * 1024 + 1024 * 1024)
    const received = await fill(both.peer)
    expect(received).toBeLessThan(4 * 1024 * 1024 + 1024 * 1024)
    both.ours.stream.end()
    both.peer.end()
    const [theirs, ours] = await Promise.all([readToEnd(both.peer), readToEnd(both.ours.stream)])
    expect(theirs).toEqual({ bytes: sent, how: 'end' })
    expect(ours).toEqual({ bytes: received, how: 'end' })
  })
})

describe.each(setups.slice(2))('a reset by a peer: %s', (_name, setup) => {
  test.each([
    ['NO_ERROR', constants.NGHTTP2_NO_ERROR],
    ['CANCEL', constants.NGHTTP2_CANCEL],
    ['INTERNAL_ERROR', constants.NGHTTP2_INTERNAL_ERROR],
    ['CONNECT_ERROR', constants.NGHTTP2_CONNECT_ERROR],
  ])('RST_STREAM(%s) is an error, also after our own end', async (_code, code) => {
    using both = await setup()
    const stream = both.ours.stream
    stream.end('question')
    await readToEnd(both.peer)
    const outcome = readToEnd(stream)
    const peer = both.peer as Http2Stream
    // What node:http2 would put before RST_STREAM is END_STREAM: then there would be nothing to tell apart.
    peer.end = () => peer
    peer.close(code)
    expect((await outcome).how).toBe('HBONE_RESET')
  })
})

describe('a tunnel whose connection ends after it', () => {
  test.each(['ours', 'the peer'])('keeps bytes that came whole when %s closes', async (who) => {
    using pair = await hbonePair()
    const { client, server } = await pair.open()
    client.stream.end()
    server.stream.end(Buffer.alloc(250_000))
    expect((await readToEnd(server.stream)).how).toBe('end')
    await vi.waitFor(() => expect(pair.client.tunnels).toBe(0))
    if (who === 'ours') {
      pair.tls.client.destroy()
      await pair.client.closed
    } else {
      pair.server.drain()
      await pair.server.closed
    }
    expect(await readToEnd(client.stream)).toEqual({ bytes: 250_000, how: 'end' })
    await closing(client.stream)
    await pair.client.closed
  })

  test('is cut by destroy of its connection, on both sides', async () => {
    using pair = await hbonePair()
    const { client, server } = await pair.open()
    const outcomes = Promise.all([readToEnd(client.stream), readToEnd(server.stream)])
    pair.server.destroy(boom)
    const [clientEnd, serverEnd] = await outcomes
    expect(clientEnd.how).toMatch(/^HBONE_(CLOSED|RESET)$/)
    expect(serverEnd.how).toBe('HBONE_CLOSED')
    await Promise.all([pair.client.closed, pair.server.closed])
  })
})

test('many tunnels share a connection, each with its own bytes', async () => {
  using pair = await hbonePair()
  const counts = Array.from({ length: 150 }, (_, index) => 1_000 + index * 997)
  const tunnels = await Promise.all(counts.map(async () => await pair.open()))
  expect(pair.client.tunnels).toBe(150)
  const got = await Promise.all(
    tunnels.map(async ({ client, server }, index) => {
      server.stream.pipe(server.stream)
      client.stream.end(Buffer.alloc(counts[index] ?? 0))
      return await readToEnd(client.stream)
    }),
  )
  expect(got).toEqual(counts.map((bytes) => ({ bytes, how: 'end' })))
  pair.client.drain()
  await Promise.all([pair.client.closed, pair.server.closed])
  expect([pair.client.tunnels, pair.server.tunnels]).toEqual([0, 0])
})

test('tunnels that come and go leave no listeners on their connection', async () => {
  using pair = await hbonePair()
  const count = (): number => {
    const { client, server } = pair.tls
    return [client, server]
      .flatMap((tls) => tls.eventNames().map((name) => tls.listenerCount(name)))
      .reduce((sum, one) => sum + one, 0)
  }
  const one = async (): Promise<void> => {
    const { client, server } = await pair.open()
    client.stream.end('x')
    server.stream.end('y')
    await Promise.all([readToEnd(client.stream), readToEnd(server.stream)])
  }
  await one()
  const before = count()
  for (let round = 0; round < 50; round++) await one()
  expect(count()).toBe(before)
})
