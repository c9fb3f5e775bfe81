import { constants } from 'node:http2'
import { describe, expect, test } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { silentLog } from '../runtime/log.ts'
import { connectHbone } from './client.ts'
import { PING_INTERVAL_MS, PING_TIMEOUT_MS } from './keepalive.ts'
import {
  END_STREAM,
  FRAME,
  FramePeer,
  isEnd,
  isHeaders,
  isReset,
  uint32,
} from './testing-frames.ts'
import { type TlsPair, tlsPair } from './testing-tls.ts'
import { hbonePair, readToEnd } from './testing-tunnel.ts'

const request = { authority: '10.0.0.1:80', headers: { baggage: 'a=b' } }
const soon = (): AbortSignal => AbortSignal.timeout(5_000)

async function dial(pair: TlsPair, clock?: FakeClock) {
  const peer = new FramePeer(pair.server, 'server')
  const options = { log: silentLog, handshakeTimeoutMs: 5_000, ...(clock && { clock }) }
  return { peer, client: await connectHbone(pair.client, options) }
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (error: unknown) => error,
  )

describe('connectHbone', () => {
  test('takes no peer that did not agree on h2', async () => {
    using pair = await tlsPair([])
    const connecting = connectHbone(pair.client, { log: silentLog, handshakeTimeoutMs: 5_000 })
    await expect(connecting).rejects.toMatchObject({ code: 'HBONE_PROTOCOL' })
    expect(pair.client.destroyed).toBe(true)
  })

  test('gives up on a peer without settings, by time and by signal', async () => {
    using pair = await tlsPair()
    const clock = new FakeClock()
    const connecting = connectHbone(pair.client, { log: silentLog, clock, handshakeTimeoutMs: 10 })
    clock.advance(11)
    await expect(connecting).rejects.toMatchObject({ code: 'HBONE_TIMEOUT' })

    using second = await tlsPair()
    const options = { log: silentLog, handshakeTimeoutMs: 5_000, signal: AbortSignal.abort() }
    const aborted = connectHbone(second.client, options)
    await expect(aborted).rejects.toMatchObject({ code: 'HBONE_TIMEOUT' })
    expect(second.client.destroyed).toBe(true)
  })

  test('fails when the peer closes, or speaks something else', async () => {
    using pair = await tlsPair()
    const connecting = connectHbone(pair.client, { log: silentLog, handshakeTimeoutMs: 5_000 })
    pair.server.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    await expect(connecting).rejects.toMatchObject({ code: 'HBONE_CLOSED' })
  })

  test('announces its settings', async () => {
    using pair = await tlsPair()
    const { peer } = await dial(pair)
    const { payload } = await peer.seen((frame) => frame.type === FRAME.SETTINGS)
    const settings = new Map<number, number>()
    for (let at = 0; at < payload.length; at += 6) {
      settings.set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    }
    expect(settings.get(constants.NGHTTP2_SETTINGS_ENABLE_PUSH)).toBe(0)
    expect(settings.get(constants.NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)).toBe(262_144)
    expect(settings.get(constants.NGHTTP2_SETTINGS_MAX_FRAME_SIZE)).toBe(1_048_576)
    expect(settings.get(constants.NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE)).toBe(16_384)
  })
})

describe('open', () => {
  test('sends CONNECT without END_STREAM and no byte before the answer', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    const frame = await peer.seen(isHeaders(1))
    expect(frame.flags & END_STREAM).toBe(0)
    expect(client.tunnels).toBe(1)
    peer.headers(1, { ':status': '200', baggage: 'c=d' })
    const tunnel = await opening
    expect(tunnel.headers).toMatchObject({ baggage: 'c=d' })
    expect(peer.frames.some((one) => one.type === FRAME.DATA)).toBe(false)
    tunnel.stream.end('x')
    await peer.seen(isEnd(1))
  })

  test.each([401, 503, 204])('fails with the status %i of the answer', async (status) => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.headers(1, { ':status': String(status) }, END_STREAM)
    await expect(opening).rejects.toMatchObject({ code: 'HBONE_STATUS', status })
    expect(client.usable).toBe(true)
  })

  test.each([
    [constants.NGHTTP2_REFUSED_STREAM, 'HBONE_REFUSED_STREAM'],
    [constants.NGHTTP2_INTERNAL_ERROR, 'HBONE_RESET'],
    [constants.NGHTTP2_CANCEL, 'HBONE_RESET'],
    [constants.NGHTTP2_NO_ERROR, 'HBONE_RESET'],
  ])('tells a reset with code %i before the answer', async (code, expected) => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.reset(1, code)
    expect(await failure(opening)).toMatchObject({ code: expected })
    expect(client.usable).toBe(true)
  })

  test('ends with its signal and tells the peer', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const giveUp = new AbortController()
    const opening = client.open(request, giveUp.signal)
    await peer.seen(isHeaders(1))
    giveUp.abort()
    await expect(opening).rejects.toMatchObject({ code: 'HBONE_TIMEOUT' })
    expect((await peer.seen(isReset(1))).payload).toEqual(uint32(constants.NGHTTP2_CANCEL))
    expect(peer.frames.some(isEnd(1))).toBe(false)
  })

  test('fails when the connection goes before the answer', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    pair.server.destroy()
    await expect(opening).rejects.toMatchObject({ code: 'HBONE_CLOSED' })
    await client.closed
    expect([client.usable, client.maxTunnels, client.tunnels]).toEqual([false, 0, 0])
    await expect(client.open(request, soon())).rejects.toMatchObject({ code: 'HBONE_CLOSED' })
  })

  test('keeps to what the peer allows', async () => {
    using pair = await hbonePair({ maxTunnels: 2 })
    const first = await pair.open()
    await pair.open()
    expect(pair.client.maxTunnels).toBe(2)
    const third = pair.client.open(request, soon())
    await expect(third).rejects.toMatchObject({ code: 'HBONE_REFUSED_STREAM' })
    first.client.stream.end()
    first.server.stream.end()
    await Promise.all([readToEnd(first.client.stream), readToEnd(first.server.stream)])
    await expect.poll(() => pair.client.tunnels).toBe(1)
    await pair.open()
  })
})

describe('an HBONE connection of ours', () => {
  test('puts a bare RST_STREAM(CONNECT_ERROR) on the wire for a cut', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.headers(1, { ':status': '200' })
    const tunnel = await opening
    tunnel.stream.write('partial')
    tunnel.cut(new Error('boom'))
    expect((await peer.seen(isReset(1))).payload).toEqual(uint32(constants.NGHTTP2_CONNECT_ERROR))
    expect(peer.frames.some(isEnd(1))).toBe(false)
  })

  test('puts a reset, and no end, on the wire for each tunnel when it is destroyed', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.headers(1, { ':status': '200' })
    await opening
    client.destroy(new Error('boom'))
    expect((await peer.seen(isReset(1))).payload).toEqual(uint32(constants.NGHTTP2_CONNECT_ERROR))
    expect(peer.frames.some(isEnd(1))).toBe(false)
    await client.closed
  })

  test('after GOAWAY takes no tunnels, keeps those it has, and refuses those unseen', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.headers(1, { ':status': '200' })
    const tunnel = await opening
    const unseen = failure(client.open(request, soon()))
    await peer.seen(isHeaders(3))
    peer.goaway(1, constants.NGHTTP2_NO_ERROR)
    expect(await unseen).toMatchObject({ code: 'HBONE_REFUSED_STREAM' })
    expect(client.usable).toBe(false)
    peer.send(FRAME.DATA, END_STREAM, 1, Buffer.from('late'))
    expect(await readToEnd(tunnel.stream)).toEqual({ bytes: 4, how: 'end' })
    tunnel.stream.end()
    pair.server.end()
    await client.closed
  })

  test('cuts its tunnels on a GOAWAY with an error', async () => {
    using pair = await tlsPair()
    const { peer, client } = await dial(pair)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.headers(1, { ':status': '200' })
    const tunnel = await opening
    peer.goaway(1, constants.NGHTTP2_INTERNAL_ERROR)
    expect((await readToEnd(tunnel.stream)).how).toBe('HBONE_CLOSED')
  })

  test('drain waits for the last tunnel', async () => {
    using pair = await hbonePair()
    const { client, server } = await pair.open()
    pair.client.drain()
    expect(pair.client.usable).toBe(false)
    client.stream.end('question')
    server.stream.end('answer')
    expect((await readToEnd(server.stream)).bytes).toBe(8)
    expect((await readToEnd(client.stream)).bytes).toBe(6)
    await Promise.all([pair.client.closed, pair.server.closed])
  })

  test('pings an idle peer and is destroyed when it does not answer', async () => {
    using pair = await tlsPair()
    const clock = new FakeClock()
    const { peer, client } = await dial(pair, clock)
    const opening = client.open(request, soon())
    await peer.seen(isHeaders(1))
    peer.headers(1, { ':status': '200' })
    const end = readToEnd((await opening).stream)
    const pings = (): number => peer.frames.filter((frame) => frame.type === FRAME.PING).length
    clock.advance(PING_INTERVAL_MS - 1)
    expect(pings()).toBe(0)
    for (const count of [1, 2]) {
      clock.advance(PING_INTERVAL_MS)
      await expect.poll(pings).toBe(count)
      // An answer to CONNECT that comes after the answer to PING tells that both have been read.
      const stream = 1 + 2 * count
      const barrier = failure(client.open(request, soon()))
      await peer.seen(isHeaders(stream))
      peer.headers(stream, { ':status': '503' }, END_STREAM)
      await barrier
    }
    peer.mute = true
    clock.advance(PING_INTERVAL_MS)
    await expect.poll(pings).toBe(3)
    clock.advance(PING_TIMEOUT_MS + 1)
    expect((await end).how).toBe('HBONE_CLOSED')
    expect(client.usable).toBe(false)
  })
})
