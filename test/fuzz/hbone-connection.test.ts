import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Stream } from '../../shared/hbone/stream.ts'
import { Collector, type End, exchange, joined } from '../../shared/hbone/testing-connection.ts'

// Two peers of ours without sockets: a schedule decides who says what, and how the bytes between them are cut.

const STREAMS = 4

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      who: fc.constantFrom('client' as const, 'server' as const),
      stream: fc.nat(STREAMS - 1),
      bytes: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 1, max: 700_000 })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('pause' as const, 'resume' as const, 'end' as const),
      who: fc.constantFrom('client' as const, 'server' as const),
      stream: fc.nat(STREAMS - 1),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('cut' as const),
      who: fc.constantFrom('client' as const, 'server' as const),
      stream: fc.nat(STREAMS - 1),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('deliver' as const),
      who: fc.constantFrom('client' as const, 'server' as const),
      // The wire holds what was sent; so much of it arrives now, in pieces of this size.
      bytes: fc.integer({ min: 1, max: 600_000 }),
      piece: fc.integer({ min: 1, max: 70_000 }),
    }),
  },
)

/** One end of one tunnel: what it wrote, and what the other end saw of it. */
class Half {
  readonly stream: Stream
  readonly reader = new Collector()
  readonly seed: number
  written = 0
  ended = false
  /** The first byte that was not what it should be. */
  wrongAt = -1

  constructor(stream: Stream, seed: number, peerSeed: number) {
    this.stream = stream
    this.seed = seed
    stream.attach(this.reader)
    this.reader.data = (chunk) => {
      for (let index = 0; index < chunk.length; index += 1 + (index & 63)) {
        if (chunk[index] !== byteAt(peerSeed, this.reader.bytes + index)) {
          this.wrongAt = this.reader.bytes + index
        }
      }
      this.reader.bytes += chunk.length
    }
    stream.resume()
  }

  write(bytes: number): void {
    if (this.ended || this.reader.error !== undefined) return
    const chunk = new Uint8Array(bytes)
    for (let index = 0; index < bytes; index++)
      chunk[index] = byteAt(this.seed, this.written + index)
    this.written += bytes
    this.stream.write(chunk)
    // The memory is the caller's again.
    chunk.fill(0xee)
  }

  end(): void {
    this.ended = true
    this.stream.end()
  }
}

const byteAt = (seed: number, index: number): number =>
  (seed * 31 + index + (index >> 8) * 7) & 0xff

class Wire {
  #bytes = Buffer.alloc(0)
  readonly #from: End
  readonly #to: End

  constructor(from: End, to: End) {
    this.#from = from
    this.#to = to
  }

  deliver(bytes: number, piece: number): void {
    this.#bytes = Buffer.concat([this.#bytes, this.#from.output()])
    const now = this.#bytes.subarray(0, bytes)
    this.#bytes = this.#bytes.subarray(now.length)
    for (let at = 0; at < now.length; at += piece) {
      this.#to.connection.receive(now.subarray(at, at + piece))
    }
  }

  flush(): void {
    this.deliver(Number.MAX_SAFE_INTEGER, 50_000)
  }
}

test('no schedule deadlocks, loses, changes or reorders a byte, or makes a cut look like an end', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const pair = joined()
      const tunnels = Array.from({ length: STREAMS }, (_, index) => {
        const ends = pair.open()
        return {
          client: new Half(ends.client, index, index + 100),
          server: new Half(ends.server, index + 100, index),
          cut: false,
        }
      })
      const wires = {
        client: new Wire(pair.client, pair.server),
        server: new Wire(pair.server, pair.client),
      }
      for (const one of steps) {
        if (one.kind === 'deliver') {
          wires[one.who].deliver(one.bytes, one.piece)
          continue
        }
        const tunnel = tunnels[one.stream]
        if (tunnel === undefined) continue
        const half = tunnel[one.who]
        if (one.kind === 'write') half.write(one.bytes)
        else if (one.kind === 'pause') half.stream.pause()
        else if (one.kind === 'resume') half.stream.resume()
        else if (one.kind === 'end') half.end()
        else {
          tunnel.cut ||= half.reader.error === undefined
          half.stream.cut(new Error('cut'))
        }
      }
      for (const tunnel of tunnels) {
        for (const half of [tunnel.client, tunnel.server]) {
          half.stream.resume()
          half.end()
        }
      }
      wires.client.flush()
      wires.server.flush()
      wires.client.flush()
      exchange(pair.client, pair.server)
      expect(pair.client.errors.concat(pair.server.errors)).toEqual([])
      for (const tunnel of tunnels) {
        for (const [half, peer] of [
          [tunnel.client, tunnel.server],
          [tunnel.server, tunnel.client],
        ] as const) {
          const { reader } = half
          expect(half.wrongAt).toBe(-1)
          // Exactly one of the two ways to stop.
          expect(reader.isEnded && reader.isFinished).toBe(reader.error === undefined)
          if (!tunnel.cut) expect(reader.error).toBeUndefined()
          if (reader.isEnded) expect(reader.bytes).toBe(peer.written)
          else expect(reader.bytes).toBeLessThanOrEqual(peer.written)
        }
      }
      expect([pair.client.memory.used, pair.server.memory.used]).toEqual([0, 0])
      expect([pair.client.connection.streams.size, pair.server.connection.streams.size]).toEqual([
        0, 0,
      ])
    }),
    { numRuns: 150 },
  )
})
