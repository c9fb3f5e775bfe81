import { ByteQueue } from './byte-queue.ts'
import { type Channel, type ChannelSink, WRITE_HIGH_BYTES, WRITE_LOW_BYTES } from './channel.ts'
import { HboneError } from './errors.ts'
import { ErrorCode } from './frame.ts'
import type { MemoryAccount } from './memory-account.ts'
import type { Outbox, Sender } from './outbox.ts'
import type { ReceiveWindow } from './receive-window.ts'

/** The connection, as its streams need it. */
export interface StreamHost {
  readonly outbox: Outbox
  readonly memory: MemoryAccount
  sendWindowUpdate(streamId: number, increment: number): void
  sendReset(streamId: number, code: number): void
  /** The stream would like to know its bandwidth-delay product. */
  probe(stream: Stream): void
  /** No frame of the stream will come or go any more. */
  over(stream: Stream): void
}

/**
 * One stream: both halves, flow control, and the channel that it is to its user (RFC 9113 section 5.1). It has three
 * ends: END_STREAM both ways, a reset by either side, or the loss of the connection. Only the first is a clean one,
 * and what then waits for its reader outlives the connection.
 */
export class Stream implements Channel, Sender {
  readonly id: number
  readonly queue: ByteQueue
  readonly window: ReceiveWindow
  sendWindow: number
  slabSerial = 0
  slabBytes = 0
  queued = false
  endQueued = false
  /** The peer may send DATA: always to a server, to a client after the answer. */
  answered = false
  /** Informational answers that came. */
  informational = 0
  /** Told once when the stream fails, besides the sink; for who waits for an answer. */
  onFailure: ((error: HboneError) => void) | undefined
  /** Told once when the stream has left the wire, in whatever way. */
  onOver: (() => void) | undefined
  readonly #host: StreamHost
  readonly #inbox: ByteQueue
  #sink: ChannelSink | undefined
  #paused = true
  #delivering = false
  #wantsRoom = false
  #remoteEnded = false
  #endTold = false
  #endStaged = false
  #flushed = false
  #failure: HboneError | undefined
  #over = false

  constructor(host: StreamHost, id: number, sendWindow: number, window: ReceiveWindow) {
    this.id = id
    this.sendWindow = sendWindow
    this.window = window
    this.queue = new ByteQueue(host.memory)
    this.#inbox = new ByteQueue(host.memory)
    this.#host = host
  }

  /** END_STREAM has come. */
  get remoteEnded(): boolean {
    return this.#remoteEnded
  }

  get failure(): HboneError | undefined {
    return this.#failure
  }

  /** Nothing more goes on the wire for it, in either direction. */
  get isOver(): boolean {
    return this.#over
  }

  attach(sink: ChannelSink): void {
    if (this.#sink !== undefined) throw new HboneError('HBONE_PROTOCOL', 'the tunnel has a reader')
    this.#sink = sink
    if (this.#failure !== undefined) sink.failed(this.#failure)
  }

  write(chunk: Uint8Array): boolean {
    if (this.#failure !== undefined || this.endQueued) return true
    const sent = this.#host.outbox.direct(this, chunk)
    if (sent < chunk.length) {
      this.queue.push(sent === 0 ? chunk : chunk.subarray(sent))
      this.#host.outbox.enqueue(this)
    }
    if (this.queue.length < WRITE_HIGH_BYTES) return true
    this.#wantsRoom = true
    return false
  }

  end(): void {
    if (this.#failure !== undefined || this.endQueued) return
    this.endQueued = true
    this.#host.outbox.enqueue(this)
  }

  cut(cause: Error): void {
    const error =
      cause instanceof HboneError
        ? cause
        : new HboneError('HBONE_RESET', 'the tunnel was cut', { cause })
    this.reset(ErrorCode.CONNECT_ERROR, error)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#deliver()
  }

  /** Ends it for both sides: RST_STREAM with `code` to the peer, `error` to the user. */
  reset(code: number, error: HboneError): void {
    if (this.#failure !== undefined || this.#settled) return
    if (!this.#over) this.#host.sendReset(this.id, code)
    this.fail(error)
  }

  /** Ends it without a word to the peer, which knows or is gone. Does nothing after a clean end. */
  fail(error: HboneError): void {
    if (this.#failure !== undefined || this.#settled) return
    this.#failure = error
    this.#host.outbox.forget(this)
    this.queue.clear()
    this.#inbox.clear()
    this.#finish()
    const told = this.onFailure
    this.onFailure = undefined
    told?.(error)
    this.#sink?.failed(error)
  }

  /** The connection is gone. What was complete by then stays. */
  lost(error: HboneError): void {
    if (this.#remoteEnded && this.#flushed) return
    this.fail(error)
  }

  /** A slice of DATA. False if there is no memory to keep it. */
  receive(chunk: Uint8Array, start: number, end: number): boolean {
    if (this.#failure !== undefined) return true
    const slice = start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end)
    if (this.#sink !== undefined && !this.#paused && this.#inbox.length === 0) {
      this.#sink.data(slice)
    } else {
      if (!this.#host.memory.fits(slice.length)) return false
      this.#inbox.push(slice)
    }
    return true
  }

  /** After a frame: gives the peer credit for what was read. */
  refill(): void {
    if (this.#remoteEnded || this.#over) return
    const increment = this.window.update(this.#inbox.length)
    if (increment > 0) this.#host.sendWindowUpdate(this.id, increment)
    if (this.window.wantsProbe) this.#host.probe(this)
  }

  receiveEnd(): void {
    if (this.#failure !== undefined) return
    this.#remoteEnded = true
    if (this.#endStaged) this.#finish()
    this.#deliver()
  }

  endStaged(): void {
    this.#endStaged = true
    if (this.#remoteEnded) this.#finish()
  }

  sent(): void {
    if (!this.#wantsRoom || this.queue.length > WRITE_LOW_BYTES || this.#failure !== undefined)
      return
    this.#wantsRoom = false
    this.#sink?.drained()
  }

  flushed(): void {
    if (this.#failure !== undefined) return
    this.#flushed = true
    this.#sink?.finished()
  }

  /** Both ends were told: nothing can go wrong any more. */
  get #settled(): boolean {
    return this.#endTold && this.#flushed
  }

  #deliver(): void {
    const sink = this.#sink
    if (sink === undefined || this.#delivering) return
    this.#delivering = true
    while (!this.#paused && this.#inbox.length > 0) {
      const front = this.#inbox.front(this.#inbox.length)
      const { length } = front
      sink.data(front)
      // Whoever read it may have cut the stream.
      if (this.#inbox.length > 0) this.#inbox.drop(length)
    }
    this.#delivering = false
    if (this.#failure !== undefined) return
    this.refill()
    if (this.#remoteEnded && !this.#endTold && !this.#paused && this.#inbox.length === 0) {
      this.#endTold = true
      sink.ended()
    }
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    this.window.release()
    this.#host.over(this)
    const told = this.onOver
    this.onOver = undefined
    told?.()
  }
}
