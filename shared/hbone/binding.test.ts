import { expect, test, vi } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { silentLog } from '../runtime/log.ts'
import { SLOW_PEER_MS } from './binding.ts'
import { serveHbone } from './server.ts'
import { FRAME, FramePeer, isHeaders } from './testing-frames.ts'
import { tlsPair } from './testing-tls.ts'
import { endOf, hbonePair } from './testing-tunnel.ts'

test('a peer that says nothing after the handshake is sent away', async () => {
  using pair = await tlsPair()
  const clock = new FakeClock()
  const server = serveHbone(pair.server, () => undefined, { log: silentLog, clock })
  pair.client.resume()
  pair.client.on('end', () => pair.client.end())
  clock.advance(SLOW_PEER_MS)
  await server.closed
  expect(clock.pending).toBe(0)
})

test('a peer that does not finish its headers is sent away, one that does is not', async () => {
  using pair = await tlsPair()
  const clock = new FakeClock()
  const server = serveHbone(pair.server, (incoming) => void incoming.accept({}), {
    log: silentLog,
    clock,
  })
  const peer = new FramePeer(pair.client, 'client')
  peer.connect(1)
  await peer.seen(isHeaders(1))
  // HEADERS without END_HEADERS, then PING tells nothing: inside a block it would be an error.
  peer.send(FRAME.HEADERS, 0, 3, Buffer.from([0x83]))
  await vi.waitFor(() => expect(clock.pending).toBe(2))
  clock.advance(SLOW_PEER_MS - 1)
  expect(server.tunnels).toBe(1)
  clock.advance(1)
  await server.closed
  expect(clock.pending).toBe(0)
})

test('bytes go both ways at once, more than any buffer on the way holds', async () => {
  using pair = await hbonePair()
  const tunnels = await Promise.all(Array.from({ length: 8 }, async () => await pair.open()))
  const size = 8_000_000
  const totals = tunnels.flatMap(({ client, server }) =>
    [client.channel, server.channel].map(async (channel) => {
      let bytes = 0
      await new Promise<void>((resolve, reject) => {
        let open = 2
        const told = (): void => {
          open--
          if (open === 0) resolve()
        }
        channel.attach({
          data: (chunk) => (bytes += chunk.length),
          ended: told,
          finished: told,
          drained: () => undefined,
          failed: reject,
        })
        channel.resume()
        // All at once, and nobody waits: both ends have far more to send than windows and sockets take.
        for (let sent = 0; sent < size; sent += 1_000_000) channel.write(Buffer.alloc(1_000_000))
        channel.end()
      })
      return bytes
    }),
  )
  expect(new Set(await Promise.all(totals))).toEqual(new Set([size]))
  await Promise.all(tunnels.flatMap(({ client, server }) => [client.closed, server.closed]))
  expect([pair.client.tunnels, pair.server.tunnels]).toEqual([0, 0])
})

test('closed tells of a cut as well', async () => {
  using pair = await hbonePair()
  const { client, server } = await pair.open()
  const how = endOf(server.stream)
  client.cut(new Error('boom'))
  await Promise.all([client.closed, server.closed])
  expect(await how).toBe('HBONE_RESET')
})
