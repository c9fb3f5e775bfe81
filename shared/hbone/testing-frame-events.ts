import { errorCodeName, type H2Error, type Setting } from './frame.ts'
import type { FrameHandler } from './frame-handler.ts'
import { type FrameLimits, FrameReader, type PeerRole } from './frame-reader.ts'

// Test support only: frames as bytes, and what a reader made of them as plain values.

export const LIMITS: FrameLimits = {
  maxFrameSize: 16_384,
  maxHeaderBlockBytes: 20_000,
  maxHeaderFragments: 8,
}

/** A frame put together without the writer under test. */
export function frameBytes(type: number, flags: number, stream: number, payload = ''): Buffer {
  const body = Buffer.from(payload, 'hex')
  const head = Buffer.alloc(9)
  head.writeUIntBE(body.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, body])
}

export type FrameEvent = readonly [kind: string, ...values: (string | number | boolean)[]]

/** Collects events; the pieces of a DATA frame are joined, since a reader may cut them as it likes. */
export class EventRecorder implements FrameHandler {
  readonly events: FrameEvent[] = []
  readonly errors: H2Error[] = []
  /** How many slices of DATA came, and how many bytes in them. */
  slices = 0
  #data: Buffer[] = []
  #head: readonly [number, number, number, boolean] = [0, 0, 0, false]

  dataBegin(streamId: number, flowBytes: number, dataBytes: number, endStream: boolean): void {
    this.#data = []
    this.#head = [streamId, flowBytes, dataBytes, endStream]
    this.events.push(['begin', ...this.#head])
  }

  dataSlice(chunk: Uint8Array, start: number, end: number): void {
    if (end <= start) throw new Error('an empty slice')
    this.slices++
    this.#data.push(Buffer.from(chunk.subarray(start, end)))
  }

  dataEnd(streamId: number, endStream: boolean): void {
    const data = Buffer.concat(this.#data)
    if (data.length !== this.#head[2]) throw new Error('fewer or more bytes than announced')
    this.events.push(['data', streamId, data.toString('hex'), endStream])
  }

  headers(
    streamId: number,
    block: Uint8Array,
    start: number,
    end: number,
    endStream: boolean,
  ): void {
    const hex = Buffer.from(block.subarray(start, end)).toString('hex')
    this.events.push(['headers', streamId, hex, endStream])
  }

  priority(streamId: number): void {
    this.events.push(['priority', streamId])
  }

  rstStream(streamId: number, code: number): void {
    this.events.push(['rst', streamId, code])
  }

  settings(settings: readonly Setting[]): void {
    this.events.push(['settings', settings.map(({ id, value }) => `${id}=${value}`).join(' ')])
  }

  settingsAck(): void {
    this.events.push(['settings-ack'])
  }

  ping(high: number, low: number, ack: boolean): void {
    this.events.push(['ping', high, low, ack])
  }

  goaway(lastStreamId: number, code: number, debug: string): void {
    this.events.push(['goaway', lastStreamId, code, debug])
  }

  windowUpdate(streamId: number, increment: number): void {
    this.events.push(['window', streamId, increment])
  }

  unknown(type: number, length: number): void {
    this.events.push(['unknown', type, length])
  }

  failed(error: H2Error): void {
    this.errors.push(error)
    this.events.push(['failed', error.scope, error.streamId, errorCodeName(error.code)])
  }
}

/** What a reader makes of `bytes`, given to it in pieces of `sizes` (the rest in one). */
export function eventsOf(
  bytes: Buffer,
  sizes: readonly number[] = [],
  peer: PeerRole = 'server',
): EventRecorder {
  const recorder = new EventRecorder()
  const reader = new FrameReader(peer, LIMITS, recorder)
  let at = 0
  for (const size of [...sizes, bytes.length]) {
    if (at >= bytes.length) break
    // A copy that is spoiled afterwards: what was lent must not be kept.
    const piece = Uint8Array.from(bytes.subarray(at, at + size))
    reader.push(piece)
    piece.fill(0xee)
    at += size
  }
  return recorder
}
