import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { connectHbone } from '../../shared/hbone/client.ts'
import { HboneError } from '../../shared/hbone/errors.ts'
import { serveHbone } from '../../shared/hbone/server.ts'
import { type TlsPair, tlsPair } from '../../shared/hbone/testing-tls.ts'
import { readToEnd } from '../../shared/hbone/testing-tunnel.ts'
import type { HboneServerConnection, IncomingTunnel } from '../../shared/hbone/tunnel.ts'
import { FakeClock } from '../../shared/runtime/clock.ts'
import { silentLog } from '../../shared/runtime/log.ts'
import { type PooledTunnel, TunnelPool } from './pool.ts'

const request = { authority: '10.0.0.1:80', headers: {} }
const key = { id: 'a -> b' }
const soon = (): AbortSignal => AbortSignal.timeout(5_000)

/** A peer that every `connect` reaches; what it does can be changed by a test. */
class Peer {
  readonly pairs: TlsPair[] = []
  readonly servers: HboneServerConnection[] = []
  handler = (tunnel: IncomingTunnel): void => {
    const { stream } = tunnel.accept({})
    stream.pipe(stream)
  }
  maxTunnels = 200
  /** Runs before each connection is made. */
  before = async (_signal: AbortSignal): Promise<void> => undefined

  connect = async (_key: { id: string }, signal: AbortSignal) => {
    this.attempts++
    await this.before(signal)
    const pair = await tlsPair()
    this.pairs.push(pair)
    const { maxTunnels } = this
    const handle = (tunnel: IncomingTunnel): void => this.handler(tunnel)
    const server = serveHbone(pair.server, handle, { log: silentLog, maxTunnels })
    this.servers.push(server)
    const client = await connectHbone(pair.client, { log: silentLog, handshakeTimeoutMs: 5_000 })
    this.after(server)
    return client
  }
  /** Runs after each connection is made. */
  after = (_server: HboneServerConnection): void => undefined
  attempts = 0

  stop(): void {
    for (const pair of this.pairs) pair[Symbol.dispose]()
  }
}

let peer: Peer
let clock: FakeClock
let pool: TunnelPool<{ id: string }>

beforeEach(() => {
  peer = new Peer()
  clock = new FakeClock()
  const { connect } = peer
  pool = new TunnelPool({ connect, maxStreams: 3, idleMs: 60_000, clock, log: silentLog })
})

afterEach(() => {
  pool[Symbol.dispose]()
  peer.stop()
})

const open = async (): Promise<PooledTunnel> => await pool.open(key, request, soon())

async function finish({ tunnel, connection }: PooledTunnel): Promise<void> {
  const before = connection.tunnels
  tunnel.stream.end()
  expect((await readToEnd(tunnel.stream)).how).toBe('end')
  await vi.waitFor(() => expect(connection.tunnels).toBeLessThan(before))
}

describe('sharing', () => {
  test('first users of a key at once share one handshake', async () => {
    const tunnels = await Promise.all([open(), open(), open()])
    expect(new Set(tunnels.map((one) => one.connection)).size).toBe(1)
    expect([peer.attempts, pool.connections, pool.tunnels]).toEqual([1, 1, 3])
  })

  test('another key has another connection', async () => {
    const first = await open()
    const second = await pool.open({ id: 'a -> c' }, request, soon())
    expect(second.connection).not.toBe(first.connection)
  })

  test('a full connection is followed by another one, and used again when it has room', async () => {
    const tunnels = await Promise.all(Array.from({ length: 7 }, open))
    expect(peer.attempts).toBe(3)
    for (const one of new Set(tunnels.map(({ connection }) => connection))) {
      expect(one.tunnels).toBeLessThanOrEqual(3)
    }
    const [first] = tunnels
    if (first === undefined) throw new Error('no tunnel')
    await finish(first)
    await Promise.all([open(), open(), open()])
    expect([peer.attempts, pool.tunnels]).toEqual([3, 9])
  })

  test('the limit of the peer counts as well', async () => {
    peer.maxTunnels = 2
    await Promise.all(Array.from({ length: 5 }, open))
    expect(peer.attempts).toBe(3)
  })

  test('a peer that allows no tunnels is told apart from one that waits', async () => {
    peer.maxTunnels = 0
    await expect(open()).rejects.toMatchObject({ code: 'HBONE_REFUSED_STREAM' })
    expect(peer.attempts).toBeLessThan(3)
  })

  test('a failed handshake reaches all who wait, and is not kept', async () => {
    const refused = new Error('connection refused')
    peer.before = async () => await Promise.reject(refused)
    const ends = await Promise.allSettled([open(), open(), open()])
    for (const end of ends) expect(end).toEqual({ status: 'rejected', reason: refused })
    expect(peer.attempts).toBe(1)
    peer.before = async () => undefined
    await open()
    expect(pool.connections).toBe(1)
  })

  test('one who gives up does not take the handshake from the others', async () => {
    const gate = Promise.withResolvers<void>()
    peer.before = async () => await gate.promise
    const giveUp = new AbortController()
    const leaving = pool.open(key, request, giveUp.signal)
    const staying = open()
    giveUp.abort()
    await expect(leaving).rejects.toMatchObject({ code: 'HBONE_TIMEOUT' })
    gate.resolve()
    await staying
    expect(peer.attempts).toBe(1)
  })

  test('a handshake that nobody waits for is aborted, and the next one begins anew', async () => {
    const gate = Promise.withResolvers<void>()
    const aborted = Promise.withResolvers<void>()
    peer.before = async (signal) => {
      signal.addEventListener('abort', () => aborted.resolve())
      await gate.promise
    }
    const giveUp = new AbortController()
    const leaving = pool.open(key, request, giveUp.signal)
    giveUp.abort()
    await expect(leaving).rejects.toMatchObject({ code: 'HBONE_TIMEOUT' })
    await aborted.promise
    const second = open()
    gate.resolve()
    await second
    expect(peer.attempts).toBe(2)
    // The first one had ignored its signal; its connection is not left open.
    await vi.waitFor(() => expect(pool.connections).toBe(1))
  })
})

describe('a connection that ends', () => {
  test('is not handed out after GOAWAY, while its tunnels live on', async () => {
    const first = await open()
    peer.servers[0]?.drain()
    await vi.waitFor(() => expect(first.connection.usable).toBe(false))
    const second = await open()
    expect(second.connection).not.toBe(first.connection)
    expect(pool.connections).toBe(2)
    await finish(first)
    await vi.waitFor(() => expect(pool.connections).toBe(1))
  })

  test('is retried once, unseen, when it was an old one', async () => {
    await finish(await open())
    const old = peer.servers[0]
    const answered = peer.handler
    peer.handler = () => {
      peer.handler = answered
      old?.destroy(new Error('half-open'))
    }
    const second = await open()
    expect([peer.attempts, second.connection.tunnels]).toEqual([2, 1])
    await finish(second)
  })

  test('is not retried when it is new', async () => {
    peer.handler = () => {
      for (const server of peer.servers) server.destroy(new Error('broken'))
    }
    await expect(open()).rejects.toBeInstanceOf(HboneError)
    expect(peer.attempts).toBe(1)
  })

  test('is retried only once', async () => {
    await finish(await open())
    peer.handler = () => {
      for (const server of peer.servers) server.destroy(new Error('broken'))
    }
    await expect(open()).rejects.toBeInstanceOf(HboneError)
    expect(peer.attempts).toBe(2)
  })

  test('is retried when the peer drains before it looks at it, also when it is new', async () => {
    peer.after = (server) => {
      if (peer.attempts === 1) server.drain()
    }
    const { connection } = await open()
    expect([peer.attempts, connection.usable]).toEqual([2, true])
  })

  test('is not retried for ever', async () => {
    peer.after = (server) => server.drain()
    await expect(open()).rejects.toMatchObject({ code: 'HBONE_REFUSED_STREAM' })
    expect(peer.attempts).toBe(2)
  })

  test('is not retried after an answer', async () => {
    await finish(await open())
    peer.handler = (tunnel) => tunnel.refuse(401)
    await expect(open()).rejects.toMatchObject({ code: 'HBONE_STATUS', status: 401 })
    expect(peer.attempts).toBe(1)
  })

  test('leaves the counts when it is lost', async () => {
    const { tunnel } = await open()
    const end = readToEnd(tunnel.stream)
    peer.pairs[0]?.server.destroy()
    expect((await end).how).toBe('HBONE_CLOSED')
    await vi.waitFor(() => expect([pool.connections, pool.tunnels]).toEqual([0, 0]))
    await open()
    expect(peer.attempts).toBe(2)
  })
})

describe('release', () => {
  test('closes a connection that nobody has used for the idle time, not before', async () => {
    const first = await open()
    clock.advance(3_600_000)
    expect(first.connection.usable).toBe(true)
    await finish(first)
    clock.advance(59_999)
    const second = await open()
    expect(second.connection).toBe(first.connection)
    await finish(second)
    clock.advance(60_000)
    await first.connection.closed
    expect([pool.connections, clock.pending]).toEqual([0, 0])
  })

  test('rekey takes connections out of reuse and lets their tunnels live', async () => {
    const first = await open()
    pool.rekey()
    const second = await open()
    expect(second.connection).not.toBe(first.connection)
    first.tunnel.stream.end('still works')
    expect(await readToEnd(first.tunnel.stream)).toEqual({ bytes: 11, how: 'end' })
    await first.connection.closed
    expect(second.connection.usable).toBe(true)
  })

  test('drain takes only the keys it is asked for', async () => {
    const first = await open()
    const other = await pool.open({ id: 'a -> c' }, request, soon())
    pool.drain(({ id }) => id === 'a -> c')
    expect([first.connection.usable, other.connection.usable]).toEqual([true, false])
  })

  test('rekey during a handshake starts it again for those who wait', async () => {
    const gate = Promise.withResolvers<void>()
    peer.before = async () => await gate.promise
    const waiting = open()
    pool.rekey()
    gate.resolve()
    const { connection } = await waiting
    expect([peer.attempts, connection.usable]).toEqual([2, true])
    await vi.waitFor(() => expect(pool.connections).toBe(1))
  })

  test('disposal cuts everything and takes nothing more', async () => {
    const { tunnel, connection } = await open()
    const gate = Promise.withResolvers<void>()
    peer.before = async () => await gate.promise
    const waiting = pool.open({ id: 'a -> c' }, request, soon())
    const ends = Promise.all([readToEnd(tunnel.stream), waiting.catch((error: unknown) => error)])
    pool[Symbol.dispose]()
    gate.resolve()
    const [cut, refused] = await ends
    expect(cut.how).toBe('HBONE_CLOSED')
    expect(refused).toMatchObject({ code: 'HBONE_CLOSED' })
    await connection.closed
    await expect(open()).rejects.toMatchObject({ code: 'HBONE_CLOSED' })
    await vi.waitFor(() => expect([pool.connections, clock.pending]).toEqual([0, 0]))
  })
})
