import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { Channel, ChannelSink } from '../../shared/hbone/channel.ts'
import { tcpPair } from '../../shared/hbone/testing-tls.ts'
import { readToEnd } from '../../shared/hbone/testing-tunnel.ts'
import { fdOf, SO_KEEPALIVE, SOL_SOCKET, socketOption } from '../../shared/linux/sockets.ts'
import { KEEPALIVE } from './dial.ts'
import { acceptedChannel } from './socket-channel.ts'

/** Hears everything and keeps it. */
class Reader implements ChannelSink {
  text = ''
  readonly told: string[] = []
  readonly #waiting = new Map<string, () => void>()

  constructor(channel: Channel) {
    channel.attach(this)
  }

  /** Settles when `what` is told. */
  async hears(what: string): Promise<void> {
    if (!this.told.includes(what)) await this.hearsNext(what)
  }

  /** Settles when `what` is told from now on. */
  async hearsNext(what: string): Promise<void> {
    await new Promise<void>((resolve) => this.#waiting.set(what, resolve))
  }

  data(chunk: Uint8Array): void {
    this.text += Buffer.from(chunk).toString()
    this.#tell('data')
  }

  ended(): void {
    this.#tell('ended')
  }

  drained(): void {
    this.#tell('drained')
  }

  finished(): void {
    this.#tell('finished')
  }

  failed(error: Error): void {
    this.#tell(error.message)
  }

  #tell(what: string): void {
    this.told.push(what)
    this.#waiting.get(what)?.()
  }
}

/** Writes until the channel says that it is full, and stays so for a while. */
async function fillChannel(channel: Channel, reader: Reader): Promise<void> {
  const chunk = Buffer.alloc(64 * 1024)
  for (;;) {
    if (channel.write(chunk)) continue
    const timeout = AbortSignal.timeout(200)
    const late = new Promise<true>((resolve) => {
      timeout.addEventListener('abort', () => resolve(true))
    })
    if ((await Promise.race([reader.hearsNext('drained'), late])) === true) return
  }
}

describe('an accepted socket', () => {
  test('keeps its connection, its options, and what came before', async () => {
    const listener = createServer({ pauseOnConnect: true, allowHalfOpen: true })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const { port } = listener.address() as AddressInfo
    const app = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const [accepted] = (await once(listener, 'connection')) as [Socket]
    accepted.setKeepAlive(true, KEEPALIVE.idleSeconds * 1000)
    app.write('early')
    const ends = [accepted.remoteAddress, accepted.remotePort, accepted.localPort]
    const { socket, channel } = acceptedChannel(accepted)
    expect(accepted.destroyed).toBe(true)
    expect([socket.remoteAddress, socket.remotePort, socket.localPort]).toEqual(ends)
    expect(socketOption(fdOf(socket), SOL_SOCKET, SO_KEEPALIVE)).toBe(1)
    const reader = new Reader(channel)
    channel.resume()
    await reader.hears('data')
    expect(reader.text).toBe('early')
    app.end()
    channel.end()
    app.resume()
    await Promise.all([
      reader.hears('ended'),
      reader.hears('finished'),
      once(listener.close(), 'close'),
    ])
  })

  test('is not read from before its channel is resumed', async () => {
    using pair = await tcpPair()
    const { socket, channel } = acceptedChannel(pair.server)
    const reader = new Reader(channel)
    pair.client.write('hello')
    channel.write(Buffer.from('x'))
    await once(pair.client, 'readable')
    expect(socket.bytesRead).toBe(0)
    channel.resume()
    await reader.hears('data')
    expect(reader.text).toBe('hello')
    socket.destroy()
  })

  test('that is closed already cannot become a channel', async () => {
    using pair = await tcpPair()
    pair.server.destroy()
    expect(() => acceptedChannel(pair.server)).toThrow('the socket is closed')
  })
})

describe('the cut of a socket', () => {
  test('is a TCP reset, also right after an end', async () => {
    using pair = await tcpPair()
    const { socket, channel } = acceptedChannel(pair.server)
    const seen = readToEnd(pair.client)
    const reader = new Reader(channel)
    channel.end()
    channel.cut(new Error('boom'))
    channel.cut(new Error('boom'))
    await once(socket, 'close')
    expect((await seen).how).toBe('ECONNRESET')
    expect(reader.told).toEqual(['boom'])
  })

  test('is a TCP reset, also while the end is on its way', async () => {
    using pair = await tcpPair()
    const { socket, channel } = acceptedChannel(pair.server)
    const seen = readToEnd(pair.client)
    const closed = once(socket, 'close')
    socket.once('prefinish', () => channel.cut(new Error('boom')))
    channel.end()
    await closed
    expect((await seen).how).toMatch(/^(ECONNRESET|end)$/)
    expect(socket.destroyed).toBe(true)
  })

  test('is what any close before its end amounts to', async () => {
    using pair = await tcpPair()
    const { socket, channel } = acceptedChannel(pair.server)
    const reader = new Reader(channel)
    const seen = readToEnd(pair.client)
    socket.destroy()
    expect((await seen).how).toBe('ECONNRESET')
    await reader.hears('the socket closed before its end')
  })

  test('is not what a close after both ends amounts to, however much is queued', async () => {
    using pair = await tcpPair()
    const { channel } = acceptedChannel(pair.server)
    const reader = new Reader(channel)
    channel.resume()
    pair.client.end()
    await reader.hears('ended')
    channel.write(Buffer.alloc(4_000_000))
    channel.end()
    expect(await readToEnd(pair.client)).toEqual({ bytes: 4_000_000, how: 'end' })
    await reader.hears('finished')
    channel.cut(new Error('too late'))
    expect(reader.told).not.toContain('too late')
  })

  test('does not wait for queued data', async () => {
    using pair = await tcpPair()
    const { socket, channel } = acceptedChannel(pair.server)
    await fillChannel(channel, new Reader(channel))
    channel.end()
    const closed = once(socket, 'close')
    channel.cut(new Error('boom'))
    await closed
    expect((await readToEnd(pair.client)).how).toBe('ECONNRESET')
  })
})
