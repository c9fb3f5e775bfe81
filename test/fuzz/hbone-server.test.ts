import fc from 'fast-check'
import { expect, test } from 'vitest'
import { serveHbone } from '../../shared/hbone/server.ts'
import { tlsPair } from '../../shared/hbone/testing-tls.ts'
import { hbonePair, type StreamEnd } from '../../shared/hbone/testing-tunnel.ts'
import type { Tunnel } from '../../shared/hbone/tunnel.ts'
import { silentLog } from '../../shared/runtime/log.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/** Well-framed nonsense: it gets past the framing, into the state machine. */
const frame = fc
  .record({
    type: fc.integer({ min: 0, max: 12 }),
    flags: fc.integer({ min: 0, max: 255 }),
    stream: fc.oneof(fc.constantFrom(0, 1, 2, 3, 5), fc.integer({ min: 0, max: 0x7fffffff })),
    payload: fc.uint8Array({ maxLength: 200 }),
  })
  .map(({ type, flags, stream, payload }) => {
    const head = Buffer.alloc(9)
    head.writeUIntBE(payload.length, 0, 3)
    head[3] = type
    head[4] = flags
    head.writeUInt32BE(stream, 5)
    return Buffer.concat([head, payload])
  })

/** CONNECT in HPACK without Huffman coding, so that frames meet a stream that exists. */
const CONNECT = Buffer.from(
  '000029010400000001' +
    '00073a6d6574686f6407434f4e4e454354000a3a617574686f726974790b31302e302e302e313a3830',
  'hex',
)

const soup = fc.oneof(
  fc.uint8Array({ maxLength: 4_000 }).map((bytes) => Buffer.from(bytes)),
  fc.array(frame, { maxLength: 20 }).map((frames) => Buffer.concat([PREFACE, ...frames])),
  fc
    .array(frame, { maxLength: 20 })
    .map((frames) => Buffer.concat([PREFACE, Buffer.alloc(9).fill(4, 3, 4), CONNECT, ...frames])),
)

test('whatever comes after the TLS handshake, the connection ends and the process lives', async () => {
  await fc.assert(
    fc.asyncProperty(soup, fc.boolean(), async (bytes, abrupt) => {
      using pair = await tlsPair()
      const accept = (incoming: { accept(headers: Record<string, string>): Tunnel }): void => {
        const { stream } = incoming.accept({})
        stream.pipe(stream)
      }
      const server = serveHbone(pair.server, accept, { log: silentLog })
      pair.client.resume()
      pair.client.end(bytes)
      if (abrupt) pair.client.once('finish', () => pair.tcp.client.resetAndDestroy())
      await server.closed
      expect(server.tunnels).toBe(0)
    }),
    { numRuns: 150 },
  )
})

const step = fc.record({
  who: fc.constantFrom('client', 'server'),
  what: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 200_000 }) },
    { weight: 2, arbitrary: fc.constant('end') },
    { weight: 1, arbitrary: fc.constantFrom('cut', 'tick') },
  ),
} as const)

interface Side {
  readonly tunnel: Tunnel
  written: number
  ended: boolean
  readonly got: Promise<StreamEnd>
}

function side(tunnel: Tunnel): Side {
  let bytes = 0
  const { stream } = tunnel
  const got = new Promise<StreamEnd>((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    stream.once('end', () => resolve({ bytes, how: 'end' }))
    stream.once('error', () => resolve({ bytes, how: 'error' }))
    stream.once('close', () => resolve({ bytes, how: 'close' }))
  })
  return { tunnel, written: 0, ended: false, got }
}

test('however writes, ends and cuts fall together, a clean end has all bytes before it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      using pair = await hbonePair()
      const opened = await pair.open()
      const sides = { client: side(opened.client), server: side(opened.server) }
      let cut = false
      for (const { who, what } of steps) {
        const one = sides[who]
        if (what === 'tick') await new Promise((resolve) => setImmediate(resolve))
        else if (what === 'cut') {
          cut = true
          one.tunnel.cut(new Error('boom'))
        } else if (what === 'end') {
          one.ended = true
          one.tunnel.stream.end()
        } else if (!one.ended && !cut) {
          one.written += what
          one.tunnel.stream.write(Buffer.alloc(what))
        }
      }
      for (const one of Object.values(sides)) if (!one.ended && !cut) one.tunnel.stream.end()
      const [atClient, atServer] = await Promise.all([sides.client.got, sides.server.got])
      for (const [seen, sender] of [
        [atClient, sides.server],
        [atServer, sides.client],
      ] as const) {
        expect(seen.how).not.toBe('close')
        if (!cut) expect(seen.how).toBe('end')
        if (seen.how === 'end') {
          expect(seen.bytes).toBe(sender.written)
          expect(cut && !sender.ended).toBe(false)
        }
      }
    }),
    { numRuns: 150 },
  )
})
