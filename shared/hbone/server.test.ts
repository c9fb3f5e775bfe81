import { once } from 'node:events'
import { constants } from 'node:http2'
import { describe, expect, test, vi } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { createLog, silentLog } from '../runtime/log.ts'
import { PING_INTERVAL_MS, PING_TIMEOUT_MS } from './keepalive.ts'
import { serveHbone } from './server.ts'
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
import { readToEnd } from './testing-tunnel.ts'
import type { HboneServerConnection, IncomingTunnel, Tunnel } from './tunnel.ts'

interface Served {
  readonly server: HboneServerConnection
  readonly requests: IncomingTunnel[]
  readonly lines: string[]
  /** The next request that comes. */
  next(): Promise<IncomingTunnel>
}

function serve(
  pair: TlsPair,
  handler?: (tunnel: IncomingTunnel) => void,
  clock?: FakeClock,
): Served {
  const requests: IncomingTunnel[] = []
  const lines: string[] = []
  const log = createLog({ level: 'info', format: 'json', write: (line) => void lines.push(line) })
  const handle = (tunnel: IncomingTunnel): void => {
    requests.push(tunnel)
    handler?.(tunnel)
  }
  const server = serveHbone(pair.server, handle, { log, ...(clock && { clock }) })
  const next = async (): Promise<IncomingTunnel> => {
    const seen = requests.length
    return await vi.waitFor(() => requests[seen] ?? Promise.reject(new Error('no request')))
  }
  return { server, requests, lines, next }
}

async function request(served: Served, send: () => void): Promise<IncomingTunnel> {
  const next = served.next()
  send()
  return await next
}

/** The status of an answer, from the static table of HPACK or as text. */
function statusOf(payload: Buffer): string {
  const indexed: Record<number, string> = { 0x88: '200', 0x8c: '400', 0x8d: '404', 0x8e: '500' }
  return indexed[payload[0] ?? 0] ?? 'other'
}

describe('serveHbone', () => {
  test('hands over what the peer asks for, and answers 200 before any byte', async () => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    const fields = { ':method': 'CONNECT', ':authority': '[fd00::1]:80', baggage: 'a=b' }
    const incoming = await request(served, () => peer.headers(1, fields))
    expect(incoming.method).toBe('CONNECT')
    expect(incoming.request).toEqual({ authority: '[fd00::1]:80', headers: { baggage: 'a=b' } })
    const tunnel = incoming.accept({ baggage: 'c=d' })
    tunnel.stream.write('hello')
    expect(() => incoming.accept({})).toThrow(/answered/)
    incoming.refuse(503)
    const answer = await peer.seen(isHeaders(1))
    expect(statusOf(answer.payload)).toBe('200')
    expect(answer.flags & END_STREAM).toBe(0)
    expect(served.server.tunnels).toBe(1)
    peer.send(FRAME.DATA, END_STREAM, 1, Buffer.from('bye'))
    expect(await readToEnd(tunnel.stream)).toEqual({ bytes: 3, how: 'end' })
    tunnel.stream.end()
    await peer.seen(isEnd(1))
    await vi.waitFor(() => expect(served.server.tunnels).toBe(0))
  })

  test('announces its settings', async () => {
    using pair = await tlsPair()
    serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    const { payload } = await peer.seen((frame) => frame.type === FRAME.SETTINGS)
    const settings = new Map<number, number>()
    for (let at = 0; at < payload.length; at += 6) {
      settings.set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    }
    expect(settings.get(constants.NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)).toBe(200)
    expect(settings.get(constants.NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)).toBe(262_144)
    expect(settings.get(constants.NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE)).toBe(65_536)
  })

  test('shows another method and lets it be refused, without a tunnel', async () => {
    using pair = await tlsPair()
    const served = serve(pair, (incoming) => incoming.refuse(400))
    const peer = new FramePeer(pair.client, 'client')
    const fields = { ':method': 'GET', ':scheme': 'https', ':path': '/', ':authority': 'x' }
    const incoming = await request(served, () => peer.headers(1, fields))
    expect(incoming.method).toBe('GET')
    const answer = await peer.seen(isEnd(1))
    expect(statusOf(answer.payload)).toBe('400')
    expect((await peer.seen(isReset(1))).payload).toEqual(uint32(constants.NGHTTP2_NO_ERROR))
    await vi.waitFor(() => expect(served.server.tunnels).toBe(0))
  })

  test('answers 500 for a handler that throws, and lives', async () => {
    using pair = await tlsPair()
    const served = serve(pair, () => {
      throw new Error('a bug')
    })
    const peer = new FramePeer(pair.client, 'client')
    for (const stream of [1, 3]) {
      peer.connect(stream)
      expect(statusOf((await peer.seen(isEnd(stream))).payload)).toBe('500')
    }
    expect(served.lines.join('')).toContain('a bug')
  })

  test('passes a CONNECT that has ended already', async () => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    const incoming = await request(served, () => peer.connect(1, '10.0.0.1:80', END_STREAM))
    const tunnel = incoming.accept({})
    expect(await readToEnd(tunnel.stream)).toEqual({ bytes: 0, how: 'end' })
    tunnel.stream.end(Buffer.alloc(1_000))
    await peer.seen(isEnd(1))
  })

  test.each([
    constants.NGHTTP2_CANCEL,
    constants.NGHTTP2_NO_ERROR,
    constants.NGHTTP2_INTERNAL_ERROR,
  ])('tells that the peer gave up (code %i) before the answer', async (code) => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    const incoming = await request(served, () => peer.connect(1))
    const gone = once(incoming.gone, 'abort')
    peer.reset(1, code)
    await gone
    expect(() => incoming.accept({})).toThrow(/gave up/)
    incoming.refuse(503)
    expect(served.server.tunnels).toBe(0)
  })

  test('survives a request, its bytes, its end and its reset in one packet', async () => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    await peer.seen((frame) => frame.type === FRAME.SETTINGS)
    pair.client.cork()
    peer.connect(1)
    peer.send(FRAME.DATA, END_STREAM, 1, Buffer.from('x'))
    peer.reset(1, constants.NGHTTP2_NO_ERROR)
    peer.connect(3)
    peer.reset(3, constants.NGHTTP2_CANCEL)
    const incoming = await request(served, () => {
      peer.connect(5)
      pair.client.uncork()
    })
    await vi.waitFor(() => expect(served.requests.at(-1)?.gone.aborted).toBe(false))
    served.requests.at(-1)?.accept({})
    await peer.seen(isHeaders(5))
    expect(incoming.method).toBe('CONNECT')
  })

  test.each<[string, (tunnel: Tunnel) => void]>([
    ['cut', (tunnel) => tunnel.cut(new Error('boom'))],
    ['destroy()', (tunnel) => tunnel.stream.destroy()],
    ['destroy(error)', (tunnel) => tunnel.stream.destroy(new Error('boom'))],
  ])('puts a bare RST_STREAM(CONNECT_ERROR) on the wire for %s', async (_name, stop) => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    const tunnel = (await request(served, () => peer.connect(1))).accept({})
    // More than the peer's window: the cut must not wait for it.
    tunnel.stream.write(Buffer.alloc(200_000))
    await peer.seen((frame) => frame.type === FRAME.DATA)
    stop(tunnel)
    expect((await peer.seen(isReset(1))).payload).toEqual(uint32(constants.NGHTTP2_CONNECT_ERROR))
    expect(peer.frames.some(isEnd(1))).toBe(false)
  })

  test('drain says GOAWAY, goes on with open tunnels and takes no new ones', async () => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    const tunnel = (await request(served, () => peer.connect(1))).accept({})
    served.server.drain()
    await peer.seen((frame) => frame.type === FRAME.GOAWAY)
    peer.connect(3)
    peer.send(FRAME.DATA, END_STREAM, 1, Buffer.from('late'))
    expect(await readToEnd(tunnel.stream)).toEqual({ bytes: 4, how: 'end' })
    expect(served.requests).toHaveLength(1)
    tunnel.stream.end('bye')
    await peer.seen(isEnd(1))
    await served.server.closed
  })

  test('pings, and says GOAWAY and goes when nobody answers', async () => {
    using pair = await tlsPair()
    const clock = new FakeClock()
    const served = serve(pair, undefined, clock)
    const peer = new FramePeer(pair.client, 'client')
    peer.mute = true
    const tunnel = (await request(served, () => peer.connect(1))).accept({})
    const end = readToEnd(tunnel.stream)
    clock.advance(PING_INTERVAL_MS)
    await peer.seen((frame) => frame.type === FRAME.PING)
    clock.advance(PING_TIMEOUT_MS)
    expect((await end).how).toBe('HBONE_CLOSED')
    const { payload } = await peer.seen((frame) => frame.type === FRAME.GOAWAY)
    expect(payload.readUInt32BE(4)).toBe(constants.NGHTTP2_NO_ERROR)
    await served.server.closed
    expect(clock.pending).toBe(0)
  })

  test('takes no socket that is closed already', async () => {
    using pair = await tlsPair()
    pair.server.destroy()
    expect(() => serveHbone(pair.server, () => undefined, { log: silentLog })).toThrow(/closed/)
  })
})

describe('a peer that misbehaves', () => {
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
  test.each<[string, (peer: FramePeer) => void]>([
    ['plain HTTP/1', ({ tls }) => tls.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['garbage', ({ tls }) => tls.write(Buffer.alloc(5_000, 0xa5))],
    ['a second preface', ({ tls }) => tls.write(preface)],
    ['DATA on no stream', (peer) => peer.send(FRAME.DATA, 0, 0, Buffer.from('x'))],
    ['a frame that is too long', (peer) => peer.send(FRAME.DATA, 0, 1, Buffer.alloc(2_000_000))],
    ['a broken header block', (peer) => peer.send(FRAME.HEADERS, 4, 1, Buffer.alloc(30, 0xff))],
    [
      'a window beyond the limit',
      (peer) => {
        for (const _ of [1, 2]) peer.send(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fffffff))
      },
    ],
  ])('%s: the connection ends, with a line that names it', async (_name, misbehave) => {
    using pair = await tlsPair()
    const served = serve(pair)
    const port = pair.tcp.client.localPort
    misbehave(new FramePeer(pair.client, 'client'))
    await served.server.closed
    expect(served.lines.join('')).toContain('HBONE connection failed')
    expect(served.lines.join('')).toContain(`127.0.0.1:${port}`)
  })

  test.each<[string, Record<string, string>]>([
    [
      'headers beyond 64 KiB',
      { ':method': 'CONNECT', ':authority': 'x:1', big: 'y'.repeat(70_000) },
    ],
    ['CONNECT with a path', { ':method': 'CONNECT', ':authority': 'x:1', ':path': '/' }],
    ['CONNECT without an authority', { ':method': 'CONNECT' }],
    ['upper-case header names', { ':method': 'CONNECT', ':authority': 'x:1', Upper: 'y' }],
  ])('%s: that request is refused or the connection ended', async (_name, fields) => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    peer.headers(1, fields)
    await Promise.race([peer.seen(isReset(1)), served.server.closed])
    expect(served.server.tunnels).toBe(0)
  })

  test('endless resets end the connection', async () => {
    using pair = await tlsPair()
    const served = serve(pair)
    const peer = new FramePeer(pair.client, 'client')
    await peer.seen((frame) => frame.type === FRAME.SETTINGS)
    pair.client.cork()
    for (let stream = 1; stream < 30_000; stream += 2) {
      peer.connect(stream)
      peer.reset(stream, constants.NGHTTP2_CANCEL)
    }
    pair.client.uncork()
    await served.server.closed
    expect(served.server.tunnels).toBe(0)
  })
})
