import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { tcpPair } from '../../shared/hbone/testing-tls.ts'
import { endOf, fill, hbonePair, readToEnd } from '../../shared/hbone/testing-tunnel.ts'
import type { Tunnel } from '../../shared/hbone/tunnel.ts'
import { type Leg, type SpliceEnd, socketLeg, splice } from './splice.ts'

interface Spliced extends Disposable {
  /** The applications at both ends. */
  readonly left: Duplex
  readonly right: Duplex
  readonly legs: readonly [Leg, Leg]
  readonly counted: { left: number; right: number }
  readonly end: Promise<SpliceEnd>
  /** Loses the right leg's connection, without an end. */
  lose(): void
}

function start(legs: readonly [Leg, Leg], signal?: AbortSignal) {
  const counted = { left: 0, right: 0 }
  const end = splice(...legs, {
    onLeftBytes: (bytes) => void (counted.left += bytes),
    onRightBytes: (bytes) => void (counted.right += bytes),
    ...(signal && { signal }),
  })
  return { legs, counted, end }
}

const setups: readonly [string, (signal?: AbortSignal) => Promise<Spliced>][] = [
  [
    'two sockets',
    async (signal) => {
      const [left, right] = await Promise.all([tcpPair(), tcpPair()])
      const spliced = start([socketLeg(left.server), socketLeg(right.client)], signal)
      return {
        ...spliced,
        left: left.client,
        right: right.server,
        lose: () => right.server.resetAndDestroy(),
        [Symbol.dispose]() {
          left[Symbol.dispose]()
          right[Symbol.dispose]()
        },
      }
    },
  ],
  [
    'a socket and a tunnel',
    async (signal) => {
      const [left, hbone] = await Promise.all([tcpPair(), hbonePair()])
      const { client, server } = await hbone.open()
      return {
        ...start([socketLeg(left.server), client], signal),
        left: left.client,
        right: server.stream,
        lose: () => hbone.tls.server.destroy(),
        [Symbol.dispose]() {
          left[Symbol.dispose]()
          hbone[Symbol.dispose]()
        },
      }
    },
  ],
]

/** How the application at this end sees the connection stop. */
const failed = /^(ECONNRESET|HBONE_RESET|HBONE_CLOSED)$/

describe.each(setups)('splice of %s', (_name, setup) => {
  test('moves both directions whole, counts them, and leaves nothing behind', async () => {
    using both = await setup()
    const up = Buffer.alloc(3_000_000, 'up')
    both.left.end(up)
    both.right.end(Buffer.alloc(2_000_000))
    const hash = createHash('sha256')
    both.right.on('data', (chunk: Buffer) => hash.update(chunk))
    const [right, left] = await Promise.all([readToEnd(both.right), readToEnd(both.left)])
    expect([right, left]).toEqual([
      { bytes: 3_000_000, how: 'end' },
      { bytes: 2_000_000, how: 'end' },
    ])
    expect(hash.digest('hex')).toBe(createHash('sha256').update(up).digest('hex'))
    expect(await both.end).toEqual({ kind: 'complete' })
    expect(both.counted).toEqual({ left: 3_000_000, right: 2_000_000 })
    for (const { stream } of both.legs) {
      expect(stream.destroyed).toBe(true)
      for (const event of ['data', 'drain', 'end']) {
        const own = stream.listeners(event).filter((one) => /onData|onDrain|onEnd\b/.test(one.name))
        expect(own).toEqual([])
      }
    }
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
    const held = both.legs.map(({ stream }) => stream.readableLength + stream.writableLength)
    for (const bytes of held) expect(bytes).toBeLessThan(300_000)
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
    left.server.destroy()
    const seen = readToEnd(right.server)
    const { end } = start([socketLeg(left.server), socketLeg(right.client)])
    expect(await end).toMatchObject({ kind: 'cut', side: 'left' })
    expect((await seen).how).toBe('ECONNRESET')
  })

  test('does not take a signal that had aborted for a go', async () => {
    using left = await tcpPair()
    using right = await tcpPair()
    const aborted = AbortSignal.abort(new Error('too late'))
    const { end } = start([socketLeg(left.server), socketLeg(right.client)], aborted)
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
    const { end } = start([socketLeg(left.server), socketLeg(right.client)], signal)
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
      const tunnel: { client: Tunnel; server: Tunnel } = await hbone.open()
      const ends = [
        start([socketLeg(caller.server), tunnel.client]).end,
        start([tunnel.server, socketLeg(app.client)]).end,
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

describe('the cut of a socket', () => {
  test('is a TCP reset, also right after an end', async () => {
    using pair = await tcpPair()
    const seen = readToEnd(pair.client)
    const leg = socketLeg(pair.server)
    pair.server.end()
    leg.cut(new Error('boom'))
    leg.cut(new Error('boom'))
    await once(pair.server, 'close')
    expect((await seen).how).toMatch(/^(ECONNRESET|end)$/)
    expect(pair.server.destroyed).toBe(true)
  })

  test('is what any close before its end amounts to', async () => {
    using pair = await tcpPair()
    socketLeg(pair.server)
    const seen = readToEnd(pair.client)
    pair.server.destroy()
    expect((await seen).how).toBe('ECONNRESET')
  })

  test('is not what a close after both ends amounts to, however much is queued', async () => {
    using pair = await tcpPair()
    socketLeg(pair.server)
    pair.client.end()
    await readToEnd(pair.server)
    pair.server.end(Buffer.alloc(4_000_000))
    expect(await readToEnd(pair.client)).toEqual({ bytes: 4_000_000, how: 'end' })
  })

  test('does not wait for queued data', async () => {
    using pair = await tcpPair()
    await fill(pair.server)
    pair.server.end()
    const closed = once(pair.server, 'close')
    socketLeg(pair.server).cut(new Error('boom'))
    await closed
    expect((await readToEnd(pair.client)).how).toBe('ECONNRESET')
  })
})
