import { once } from 'node:events'
import { connect, createServer, type Server, Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { Channel } from './channel.ts'
import { spliceChannels } from './channel-splice.ts'
import { bufferedSocketChannel, socketChannel } from './socket-channel.ts'
import { tcpPair } from './testing-tls.ts'
import { endOf } from './testing-tunnel.ts'

interface Leg extends Disposable {
  /** What is spliced. */
  readonly channel: Channel
  /** The application at its other end. */
  readonly app: Socket
}

async function plainLeg(): Promise<Leg> {
  const pair = await tcpPair()
  return {
    channel: socketChannel(pair.server),
    app: pair.client,
    [Symbol.dispose]: () => pair[Symbol.dispose](),
  }
}

async function bufferedLeg(): Promise<Leg> {
  const listener: Server = createServer({ allowHalfOpen: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const accepted = once(listener, 'connection')
  const { socket, channel } = bufferedSocketChannel((options) =>
    connect({ ...options, port: address.port, host: '127.0.0.1' }),
  )
  const [app] = await accepted
  if (!(app instanceof Socket)) throw new Error('no socket')
  app.on('error', () => undefined)
  listener.close()
  return {
    channel,
    app,
    [Symbol.dispose]() {
      socket.destroy()
      app.destroy()
    },
  }
}

async function bytesOf(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const pattern = (bytes: number): Buffer => {
  const out = Buffer.alloc(bytes)
  for (let index = 0; index < bytes; index++) out[index] = (index * 7 + (index >> 9)) & 0xff
  return out
}

describe.each([
  ['sockets that read into new buffers', plainLeg],
  ['sockets that read into a common buffer', bufferedLeg],
])('a splice of %s', (_name, makeLeg) => {
  async function spliced(signal?: AbortSignal) {
    const [left, right] = [await makeLeg(), await makeLeg()]
    const counts = { left: 0, right: 0 }
    const end = spliceChannels(left.channel, right.channel, {
      onLeftBytes: (bytes) => (counts.left += bytes),
      onRightBytes: (bytes) => (counts.right += bytes),
      ...(signal && { signal }),
    })
    return {
      left: left.app,
      right: right.app,
      counts,
      end,
      [Symbol.dispose]() {
        left[Symbol.dispose]()
        right[Symbol.dispose]()
      },
    }
  }

  test('moves every byte both ways, then is complete', async () => {
    using both = await spliced()
    const [there, back] = [pattern(3_000_000), pattern(2_000_001)]
    both.left.end(there)
    both.right.end(back)
    const [gotThere, gotBack] = await Promise.all([bytesOf(both.right), bytesOf(both.left)])
    expect(gotThere.equals(there)).toBe(true)
    expect(gotBack.equals(back)).toBe(true)
    expect(await both.end).toEqual({ kind: 'complete' })
    expect(both.counts).toEqual({ left: 3_000_000, right: 2_000_001 })
  })

  test('keeps a half-close, and the other direction open', async () => {
    using both = await spliced()
    both.left.end('question')
    expect(String(await bytesOf(both.right))).toBe('question')
    both.right.write('first ')
    await once(both.left, 'readable')
    both.right.end('second')
    expect(String(await bytesOf(both.left))).toBe('first second')
    expect((await both.end).kind).toBe('complete')
  })

  test('turns a reset on one side into a reset on the other', async () => {
    using both = await spliced()
    both.left.write('x')
    await once(both.right, 'data')
    const how = endOf(both.right)
    both.left.resetAndDestroy()
    expect(await how).toBe('ECONNRESET')
    expect(await both.end).toMatchObject({ kind: 'cut', side: 'left' })
  })

  test('is cut by its signal, and leaves nothing on it', async () => {
    const abort = new AbortController()
    using both = await spliced(abort.signal)
    const hows = Promise.all([endOf(both.left), endOf(both.right)])
    both.left.resume()
    both.right.resume()
    abort.abort(new Error('policy'))
    expect(await hows).toEqual(['ECONNRESET', 'ECONNRESET'])
    expect(await both.end).toMatchObject({ kind: 'cut', side: 'signal' })
  })

  test('a reader that stops, stops the writer', async () => {
    using both = await spliced()
    const chunk = Buffer.alloc(64 * 1024)
    let written = 0
    for (;;) {
      written += chunk.length
      if (both.left.write(chunk)) continue
      const drained = await once(both.left, 'drain', { signal: AbortSignal.timeout(200) }).then(
        () => true,
        () => false,
      )
      if (!drained) break
    }
    const waiting = both.counts.left
    expect(waiting).toBeLessThan(written)
    both.left.end()
    expect((await bytesOf(both.right)).length).toBe(written)
  })
})
