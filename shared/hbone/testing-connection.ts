import type { ChannelSink } from './channel.ts'
import { Connection } from './connection.ts'
import type { ConnectionLimits } from './connection-options.ts'
import type { H2Error } from './frame.ts'
import { FrameReader } from './frame-reader.ts'
import { MemoryAccount } from './memory-account.ts'
import type { RequestHead, ResponseHead } from './message.ts'
import { clientLimits, serverLimits } from './settings.ts'
import type { Stream } from './stream.ts'
import { EventRecorder } from './testing-frame-events.ts'

// Test support only: connections without sockets, joined by hand.

export interface EndOptions {
  readonly limits?: Partial<ConnectionLimits>
  readonly memory?: MemoryAccount
  readonly now?: () => number
}

/** One end: a connection and what it told. */
export class End {
  readonly connection: Connection
  readonly memory: MemoryAccount
  readonly requests: { readonly stream: Stream; readonly head: RequestHead }[] = []
  readonly answers: { readonly stream: Stream; readonly head: ResponseHead }[] = []
  readonly goaways: number[] = []
  readonly errors: H2Error[] = []
  pongs = 0
  onRequest: (stream: Stream, head: RequestHead) => void = () => undefined

  constructor(role: 'client' | 'server', options: EndOptions = {}) {
    this.memory = options.memory ?? new MemoryAccount(1024 ** 3)
    this.connection = new Connection({
      role,
      limits: { ...(role === 'client' ? clientLimits() : serverLimits()), ...options.limits },
      memory: this.memory,
      now: options.now ?? (() => 0),
      events: {
        wake: () => undefined,
        ready: () => undefined,
        request: (stream, head) => {
          this.requests.push({ stream, head })
          this.onRequest(stream, head)
        },
        answer: (stream, head) => void this.answers.push({ stream, head }),
        pong: () => void this.pongs++,
        goaway: (code) => void this.goaways.push(code),
        gone: () => undefined,
        failed: (error) => void this.errors.push(error),
        refused: () => undefined,
      },
    })
    this.connection.start()
  }

  /** All that waits to be sent. */
  output(): Buffer {
    const parts: Buffer[] = []
    for (;;) {
      const bytes = this.connection.outbox.take()
      if (bytes === undefined) return Buffer.concat(parts)
      parts.push(Buffer.from(bytes))
      this.connection.outbox.taken()
    }
  }

  /** What waits to be sent, as frames; `preface`: this is a client's first output. */
  frames(preface = false): EventRecorder['events'] {
    const recorder = new EventRecorder()
    const limits = { maxFrameSize: 2 ** 20, maxHeaderBlockBytes: 2 ** 20, maxHeaderFragments: 64 }
    const reader = new FrameReader(preface ? 'client' : 'server', limits, recorder)
    // A reader wants SETTINGS first.
    if (!preface) reader.push(Buffer.from('000000040000000000', 'hex'))
    reader.push(this.output())
    return recorder.events
  }
}

/** Moves bytes both ways until both are silent. */
export function exchange(one: End, other: End): void {
  for (let quiet = false; !quiet; ) {
    const there = one.output()
    if (there.length > 0) other.connection.receive(there)
    const back = other.output()
    if (back.length > 0) one.connection.receive(back)
    quiet = there.length === 0 && back.length === 0
  }
}

/** Reads a channel to its end and keeps what came. */
export class Collector implements ChannelSink {
  readonly chunks: Buffer[] = []
  bytes = 0
  rooms = 0
  isEnded = false
  isFinished = false
  error: Error | undefined

  data(chunk: Uint8Array): void {
    this.bytes += chunk.length
    this.chunks.push(Buffer.from(chunk))
  }

  ended(): void {
    this.#once(this.isEnded)
    this.isEnded = true
  }

  drained(): void {
    this.rooms++
  }

  finished(): void {
    this.#once(this.isFinished)
    this.isFinished = true
  }

  failed(error: Error): void {
    this.#once(this.isEnded && this.isFinished)
    this.error = error
  }

  #once(told: boolean): void {
    if (told || this.error !== undefined) throw new Error('told twice')
  }
}

/** Two ends that know each other, and a tunnel between them. */
export function joined(client: EndOptions = {}, server: EndOptions = {}) {
  const ends = { client: new End('client', client), server: new End('server', server) }
  ends.server.onRequest = (stream) =>
    ends.server.connection.respond(stream, [{ name: ':status', value: '200' }], false)
  exchange(ends.client, ends.server)
  return {
    ...ends,
    open(): { readonly client: Stream; readonly server: Stream } {
      const stream = ends.client.connection.open([
        { name: ':method', value: 'CONNECT' },
        { name: ':authority', value: '10.0.0.1:80' },
      ])
      exchange(ends.client, ends.server)
      const request = ends.server.requests.at(-1)
      if (stream === undefined || request === undefined) throw new Error('not opened')
      return { client: stream, server: request.stream }
    },
  }
}
