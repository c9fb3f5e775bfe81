import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { Channel } from '../../shared/hbone/channel.ts'
import { Stream } from '../../shared/hbone/stream.ts'
import { TcpPair, tcpPair } from '../../shared/hbone/testing-tls.ts'
import { endOf, fill, hbonePair, readToEnd } from '../../shared/hbone/testing-tunnel.ts'
import { tcpSocket } from '../../shared/linux/sockets.ts'
import { acceptedChannel, type ChannelSocket, socketChannel } from './socket-channel.ts'
import { type SpliceEnd, splice } from './splice.ts'

interface Spliced extends Disposable {
  /** The applications at both ends. */
  readonly left: Duplex
  readonly right: Duplex
  /** The sockets below the spliced channels. */
  readonly sockets: readonly Socket[]
  /** What each of the two channels keeps for its peer. */
  held(): number[]
  readonly counted: { left: number; right: number }
  readonly end: Promise<SpliceEnd>
  /** Loses the right leg's connection, without an end. */
  lose(): void
}

function start(left: Channel, right: Channel, signal?: AbortSignal) {
  const counted = { left: 0, right: 0 }
  const end = splice(left, right, {
    onLeftBytes: (bytes) => void (counted.left += bytes),
    onRightBytes: (bytes) => void (counted.right += bytes),
    ...(signal && { signal }),
  })
  return { counted, end }
}

/** A socket that we connect, and the application that accepts it. */
async function dialled(): Promise<ChannelSocket & { readonly pair: TcpPair }> {
  const listener = createServer({ allowHalfOpen: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve))
  const { socket, channel } = socketChannel(tcpSocket({ family: 4 }))
  socket.connect({ host: '127.0.0.1', port: address.port })
  await once(socket, 'connect')
  const pair = new TcpPair(socket, await accepted)
  listener.close()
  return { socket, channel, pair }
}

/** Bytes that a socket's channel keeps: those that were counted but did not leave the process. */
const heldBy = (socket: Socket, counted: number): number =>
  counted - socket.bytesWritten + socket.writableLength

const setups: readonly [string, (signal?: AbortSignal) => Promise<Spliced>][] = [
  [
    'an accepted and a dialled socket',
    async (signal) => {
      const [left, right] = await Promise.all([tcpPair(), dialled()])
      const accepted = acceptedChannel(left.server)
      const spliced = start(accepted.channel, right.channel, signal)
      return {
        ...spliced,
        left: left.client,
        right: right.pair.server,
        sockets: [accepted.socket, right.socket],
        held: () => [
          heldBy(accepted.socket, spliced.counted.right),
          heldBy(right.socket, spliced.counted.left),
        ],
        lose: () => right.pair.server.resetAndDestroy(),
        [Symbol.dispose]() {
          left[Symbol.dispose]()
          right.pair[Symbol.dispose]()
          accepted.socket.destroy()
        },
      }
    },
  ],
  [
    'a socket and a tunnel',
    async (signal) => {
      const [left, hbone] = await Promise.all([tcpPair(), hbonePair()])
      const { client, server } = await hbone.open()
      const accepted = acceptedChannel(left.server)
      const spliced = start(accepted.channel, client.channel, signal)
      const stream = client.channel
      if (!(stream instanceof Stream)) throw new Error('not a stream')
      return {
        ...spliced,
        left: left.client,
        right: server.stream,
        sockets: [accepted.socket],
        held: () => [heldBy(accepted.socket, spliced.counted.right), stream.queue.length],
        lose: () => hbone.tls.server.destroy(),
        [Symbol.dispose]() {
          left[Symbol.dispose]()
          hbone[Symbol.dispose]()
          accepted.socket.destroy()
        },
      }
    },
  ],
]

const hashOf = (stream: Duplex): Hash => {
  const hash = createHash('sha256')
  stream.on('data', (chunk: Buffer) => hash.update(chunk))
  return hash
}

const channelOf = (accepted: Socket): Channel => acceptedChannel(accepted).channel

/** How the application at this end sees the connection stop. */
const failed = /^(ECONNRESET|HBONE_RESET|HBONE_CLOSED)$/

describe.each(setups)('splice of %s', (_name, setup) => {
  test('moves both directions whole, counts them, and leaves nothing behind', async () => {
    using both = await setup()
    const up = Buffer.alloc(3_000_000, 'up')
    both.left.end(up)
    const down = Buffer.alloc(2_000_000, 'down!')
    both.right.end(down)
    const hashes = [hashOf(both.right), hashOf(both.left)]
    const [right, left] = await Promise.all([readToEnd(both.right), readToEnd(both.left)])
    expect([right, left]).toEqual([
      { bytes: 3_000_000, how: 'end' },
      { bytes: 2_000_000, how: 'end' },
    ])
    expect(hashes.map((hash) => hash.digest('hex'))).toEqual(
      [up, down].map((bytes) => createHash('sha256').update(bytes).digest('hex')),
    )
    expect(await both.end).toEqual({ kind: 'complete' })
    expect(both.counted).toEqual({ left: 3_000_000, right: 2_000_000 })
    for (const socket of both.sockets) expect(socket.destroyed).toBe(true)
  })

  test.each(['left', 'right'] as const)('keeps a half-close from the %s', async (side) => {
    using both = await setup()
    const [asking, answering] = side === 'left' ? [both.left, both.right] : [both.right, both.left]
    asking.end('question')
    expect(await readToEnd(answering)).toEqual({ bytes: 8, how: 'end' })
    answering.write('first ')
    await once(asking, 'readable')
    answering.end('second')
    expect(await readToEnd(asking)).toEqual({ bytes: 12, how: 'end' })
    expect(await both.end).toEqual({ kind: 'complete' })
  })

  test('turns a reset from the left into a failure on the right', async () => {
    using both = await setup()
    both.left.write('partial')
    await once(both.right, 'readable')
    const seen = readToEnd(both.right)
    ;(both.left as Socket).resetAndDestroy()
    expect(await both.end).toMatchObject({
      kind: 'cut',
      side: 'left',
      error: { code: 'ECONNRESET' },
    })
    expect((await seen).how).toMatch(failed)
  })

  test('turns the loss of the right into a reset on the left, also in a half-closed download', async () => {
    using both = await setup()
    both.left.end('question')
    await readToEnd(both.right)
    both.right.write('part of the answer')
    await once(both.left, 'readable')
    const seen = readToEnd(both.left)
    both.lose()
    expect(await both.end).toMatchObject({ kind: 'cut', side: 'right' })
    expect((await seen).how).toMatch(failed)
  })

  test('cuts both sides when its signal aborts, with data still queued', async () => {
    const stop = new AbortController()
    using both = await setup(stop.signal)
    await fill(both.left)
    const reason = new Error('policy')
    const [left, right] = [endOf(both.left), readToEnd(both.right)]
    stop.abort(reason)
    expect(await both.end).toEqual({ kind: 'cut', side: 'signal', error: reason })
    both.left.resume()
    expect(await left).toMatch(failed)
    expect((await right).how).toMatch(failed)
  })

  test('stops a sender whose receiver does not read, and holds little', async () => {
    using both = await setup()
    await fill(both.left)
    for (const bytes of both.held()) expect(bytes).toBeLessThan(300_000)
    both.left.end()
    both.right.end()
    const [right] = await Promise.all([readToEnd(both.right), readToEnd(both.left)])
    expect(right).toEqual({ bytes: both.counted.left, how: 'end' })
    expect(await both.end).toEqual({ kind: 'complete' })
  })
})

describe('splice', () => {
  test('reports a leg that was gone before it began', async () => {
    using left = await tcpPair()
    using right = await tcpPair()
    const accepted = acceptedChannel(left.server)
    accepted.socket.destroy()
    await once(accepted.socket, 'close')
    const seen = readToEnd(right.server)
    const { end } = start(accepted.channel, channelOf(right.client))
    expect(await end).toMatchObject({ kind: 'cut', side: 'left' })
    expect((await seen).how).toBe('ECONNRESET')
  })

  test('does not take a signal that had aborted for a go', async () => {
    using left = await tcpPair()
    using right = await tcpPair()
    const aborted = AbortSignal.abort(new Error('too late'))
    const { end } = start(channelOf(left.server), channelOf(right.client), aborted)
    expect(await end).toMatchObject({ kind: 'cut', side: 'signal' })
  })

  test('a signal that outlives many connections gathers no listeners', async () => {
    const { signal } = new AbortController()
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    using left = await tcpPair()
    using right = await tcpPair()
    const { end } = start(channelOf(left.server), channelOf(right.client), signal)
    expect(listeners).toBe(1)
    left.client.end()
    right.server.end()
    left.client.resume()
    right.server.resume()
    expect(await end).toEqual({ kind: 'complete' })
    expect(listeners).toBe(0)
  })

  test('through two splices and a tunnel, a reset of either application reaches the other', async () => {
    for (const who of ['client', 'server'] as const) {
      using caller = await tcpPair()
      using app = await tcpPair()
      using hbone = await hbonePair()
      const tunnel = await hbone.open()
      const ends = [
        start(channelOf(caller.server), tunnel.client.channel).end,
        start(tunnel.server.channel, channelOf(app.client)).end,
      ]
      const [resetting, watching] =
        who === 'client' ? [caller.client, app.server] : [app.server, caller.client]
      resetting.write('partial')
      await once(watching, 'readable')
      const seen = readToEnd(watching)
      resetting.resetAndDestroy()
      expect((await seen).how).toBe('ECONNRESET')
      for (const end of await Promise.all(ends)) expect(end.kind).toBe('cut')
    }
  })
})
