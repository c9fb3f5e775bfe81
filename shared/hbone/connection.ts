import type { ConnectionEvents, ConnectionLimits, ConnectionOptions } from './connection-options.ts'
import { HboneError } from './errors.ts'
import { FloodGuard, type FloodKind } from './flood-guard.ts'
import {
  connectionError,
  DEFAULT_WINDOW_SIZE,
  ErrorCode,
  errorCodeName,
  type H2Error,
  MAX_STREAM_ID,
  MAX_WINDOW_SIZE,
  type Setting,
  streamError,
} from './frame.ts'
import type { FrameHandler } from './frame-handler.ts'
import { FrameReader } from './frame-reader.ts'
import { FrameSender } from './frame-sender.ts'
import { HpackDecoder } from './hpack-decoder.ts'
import type { HeaderField } from './hpack-static.ts'
import { MemoryAccount } from './memory-account.ts'
import { parseRequest, parseResponse } from './message.ts'
import { Outbox } from './outbox.ts'
import { frameLimits, headerLimits, memoryBound, ownSettings } from './own-limits.ts'
import { PeerSettings } from './peer-settings.ts'
import { PING_PROBE, Probe } from './probe.ts'
import { GROWTH_BYTES, ReceiveWindow, WindowShares } from './receive-window.ts'
import { Stream, type StreamHost } from './stream.ts'
import { StreamTable } from './stream-table.ts'

/** Tells our other use of PING from `PING_PROBE`. */
const PING_ALIVE = 0x616d6274
/** Informational answers (1xx) that one request may get. */
const MAX_INFORMATIONAL = 16
/**
 * HTTP/2 between peers that only CONNECT (RFC 9113): frames and commands in, frames and events out, and neither
 * sockets nor timers inside. Bytes come by `receive`; what is to be sent is in `outbox`.
 *
 * The connection's window is credited when bytes arrive, so that a stream that nobody reads never holds up another.
 * What waits is bounded by the streams' windows: at most `maxStreams * startWindowBytes + GROWTH_BYTES`, and by the
 * accounts above; a stream for whose bytes no memory is left is reset.
 */
export class Connection implements FrameHandler, StreamHost {
  readonly outbox: Outbox
  readonly memory: MemoryAccount
  readonly floods: FloodGuard
  readonly #role: 'client' | 'server'
  readonly #limits: ConnectionLimits
  readonly #events: ConnectionEvents
  readonly #reader: FrameReader
  readonly #sender: FrameSender
  readonly #decoder: HpackDecoder
  readonly #table = new StreamTable()
  readonly #peer: PeerSettings
  readonly #shares: WindowShares
  readonly #probe: Probe
  #window = DEFAULT_WINDOW_SIZE
  #ready = false
  #goawaySent = false
  #goawayFrom = MAX_STREAM_ID
  #over = false
  /** The stream of the DATA frame that is being read. */
  #current: Stream | undefined

  constructor(options: ConnectionOptions) {
    const { limits, role } = options
    this.#role = role
    this.#limits = limits
    this.#events = options.events
    this.memory = new MemoryAccount(memoryBound(limits), options.memory)
    this.#shares = new WindowShares(GROWTH_BYTES, this.memory)
    this.floods = new FloodGuard(options.now)
    this.outbox = new Outbox(() => this.#events.wake())
    this.#sender = new FrameSender(this.outbox)
    this.#probe = new Probe(this.#sender)
    this.#peer = new PeerSettings({
      role,
      streams: this.#table.open,
      outbox: this.outbox,
      hpack: this.#sender.hpack,
    })
    const peer = role === 'client' ? 'server' : 'client'
    this.#reader = new FrameReader(peer, frameLimits(limits), this)
    this.#decoder = new HpackDecoder(headerLimits(limits))
  }

  get streams(): ReadonlyMap<number, Stream> {
    return this.#table.open
  }

  get isReady(): boolean {
    return this.#ready
  }

  /** What the peer allows us to open at once. */
  get peerMaxStreams(): number {
    return this.#peer.maxStreams
  }

  /** A header block has begun and not ended. */
  get inHeaderBlock(): boolean {
    return this.#reader.inHeaderBlock
  }

  /** Says the first words; once. */
  start(): void {
    if (this.#role === 'client') this.#sender.preface()
    this.#sender.settings(ownSettings(this.#role, this.#limits))
    this.#creditConnection()
  }

  receive(chunk: Uint8Array): void {
    this.#reader.push(chunk)
    if (this.outbox.overflowing) {
      this.failed(connectionError(ErrorCode.ENHANCE_YOUR_CALM, 'the peer does not read answers'))
    }
  }

  /** Client: sends CONNECT. `undefined` when no id is left. Throws `HBONE_HEADER` for headers that cannot be sent. */
  open(fields: readonly HeaderField[]): Stream | undefined {
    const id = this.#table.lastId === 0 ? 1 : this.#table.lastId + 2
    if (id > MAX_STREAM_ID || this.#over) return undefined
    this.#sender.headers(id, fields, { endStream: false, repeats: false })
    this.#table.lastId = id
    return this.#add(id)
  }

  /** Server: the answer. With `endStream` there is no tunnel, and nothing more is wanted from the peer. */
  respond(stream: Stream, fields: readonly HeaderField[], endStream: boolean): void {
    if (stream.isOver || stream.failure !== undefined) return
    this.#sender.headers(stream.id, fields, { endStream, repeats: true })
    if (!endStream) return
    const refused = new HboneError('HBONE_RESET', 'the request was refused')
    if (stream.remoteEnded) stream.fail(refused)
    // RFC 9113 section 8.1: tells the peer to stop sending.
    else stream.reset(ErrorCode.NO_ERROR, refused)
  }

  /** Asks for a sign of life: `pong`. */
  askAlive(): void {
    this.#sender.ping(PING_ALIVE, 0, false)
  }

  /** No more streams; those that are open go on. */
  goAway(code: number, debug = ''): void {
    if (this.#goawaySent && code === ErrorCode.NO_ERROR) return
    this.#goawaySent = true
    const last = this.#role === 'server' ? this.#table.lastId : 0
    if (this.#role === 'server') this.#table.goawayId = Math.min(this.#table.goawayId, last)
    this.#sender.goaway(last, code, debug)
  }

  /** Resets every stream and says goodbye; what is in the outbox is to be sent. */
  shutDown(error: HboneError): void {
    for (const stream of this.#table.open.values()) {
      stream.reset(ErrorCode.CONNECT_ERROR, error)
    }
    this.goAway(ErrorCode.NO_ERROR)
    this.#stop()
  }

  /** The socket is gone. */
  lost(error: HboneError): void {
    this.#stop()
    for (const stream of this.#table.open.values()) stream.lost(error)
    this.outbox.lose(error)
  }

  // What streams ask for.

  sendWindowUpdate(streamId: number, increment: number): void {
    if (!this.#over) this.#sender.windowUpdate(streamId, increment)
  }

  sendReset(streamId: number, code: number): void {
    this.#table.wasReset(streamId)
    if (!this.#over) this.#sender.reset(streamId, code)
  }

  probe(stream: Stream): void {
    if (!this.#over) this.#probe.begin(stream)
  }

  over(stream: Stream): void {
    this.#table.open.delete(stream.id)
    if (stream.failure !== undefined) this.#table.wasReset(stream.id)
    if (this.#current === stream) this.#current = undefined
    this.#events.gone(stream)
  }

  // What the peer says.

  dataBegin(streamId: number, flowBytes: number, dataBytes: number, endStream: boolean): void {
    this.#window -= flowBytes
    if (this.#window < 0) {
      this.failed(
        connectionError(ErrorCode.FLOW_CONTROL_ERROR, 'DATA beyond the window of the connection'),
      )
      return
    }
    this.#creditConnection()
    if (dataBytes === 0 && !endStream && !this.#allows('emptyData')) return
    this.#current = this.#find(streamId, 'DATA')
    const stream = this.#current
    if (stream === undefined) return
    if (stream.remoteEnded) {
      this.failed(streamError(streamId, ErrorCode.STREAM_CLOSED, 'DATA after END_STREAM'))
    } else if (!stream.answered) {
      this.failed(streamError(streamId, ErrorCode.PROTOCOL_ERROR, 'DATA before the answer'))
    } else if (!stream.window.arrived(flowBytes)) {
      const text = 'DATA beyond the window of the stream'
      this.failed(streamError(streamId, ErrorCode.FLOW_CONTROL_ERROR, text))
    }
  }

  dataSlice(chunk: Uint8Array, start: number, end: number): void {
    const stream = this.#current
    if (stream === undefined || stream.receive(chunk, start, end)) return
    this.failed(
      streamError(stream.id, ErrorCode.ENHANCE_YOUR_CALM, 'no memory left for bytes that wait'),
    )
  }

  dataEnd(_streamId: number, endStream: boolean): void {
    const stream = this.#current
    this.#current = undefined
    if (stream === undefined) return
    if (endStream) stream.receiveEnd()
    else stream.refill()
  }

  headers(
    streamId: number,
    block: Uint8Array,
    start: number,
    end: number,
    endStream: boolean,
  ): void {
    const decoded = this.#decoder.decode(block, start, end)
    if (decoded.kind === 'malformed') {
      this.failed(decoded.error)
      return
    }
    const isNew = this.#role === 'server' && this.#isNew(streamId)
    const stream = isNew ? undefined : this.#find(streamId, 'HEADERS')
    if (!isNew && stream === undefined) return
    // Nothing but DATA may follow the first header blocks of a tunnel (RFC 9113 section 8.5).
    if (stream?.remoteEnded === true) {
      this.failed(streamError(streamId, ErrorCode.STREAM_CLOSED, 'HEADERS after END_STREAM'))
    } else if (stream?.answered === true) {
      this.failed(streamError(streamId, ErrorCode.PROTOCOL_ERROR, 'HEADERS in a tunnel'))
    } else if (decoded.kind === 'too-large') {
      if (isNew) this.#table.lastId = streamId
      this.failed(
        streamError(streamId, ErrorCode.ENHANCE_YOUR_CALM, `headers beyond ${decoded.limit}`),
      )
    } else if (stream === undefined) {
      this.#onRequest(streamId, decoded.fields, endStream)
    } else {
      this.#onAnswer(stream, decoded.fields, endStream)
    }
  }

  priority(_streamId: number): void {
    this.#allows('priority')
  }

  rstStream(streamId: number, code: number): void {
    const stream = this.#table.open.get(streamId)
    if (stream === undefined) {
      if (this.#table.absence(streamId) === 'idle') this.#onIdle(streamId, 'RST_STREAM')
      else this.#allows('staleFrame')
      return
    }
    if (this.#role === 'server' && !this.#allows('reset')) return
    stream.fail(
      code === ErrorCode.REFUSED_STREAM
        ? new HboneError('HBONE_REFUSED_STREAM', 'the peer refused the tunnel')
        : new HboneError('HBONE_RESET', `the peer reset the tunnel (${errorCodeName(code)})`),
    )
  }

  settings(settings: readonly Setting[]): void {
    if (this.#ready && !this.#allows('settings')) return
    const wrong = this.#peer.apply(settings)
    if (wrong !== undefined) {
      this.failed(wrong)
      return
    }
    this.#sender.settingsAck()
    if (this.#ready) return
    this.#ready = true
    this.#events.ready()
  }

  settingsAck(): void {
    this.#allows('settings')
  }

  ping(high: number, low: number, ack: boolean): void {
    if (!ack) {
      if (this.#allows('ping')) this.#sender.ping(high, low, true)
    } else if (high === PING_ALIVE) {
      this.#events.pong()
    } else if (high === PING_PROBE) this.#probe.end(low)
  }

  goaway(lastStreamId: number, code: number, _debug: string): void {
    if (lastStreamId > this.#goawayFrom) {
      const text = `GOAWAY for stream ${lastStreamId} after one for ${this.#goawayFrom}`
      this.failed(connectionError(ErrorCode.PROTOCOL_ERROR, text))
      return
    }
    this.#goawayFrom = lastStreamId
    this.#events.goaway(code)
    const unseen = new HboneError('HBONE_REFUSED_STREAM', 'the peer is closing, and took no notice')
    const closed = new HboneError('HBONE_CLOSED', `the peer closed (${errorCodeName(code)})`)
    for (const stream of this.#table.open.values()) {
      if (this.#role === 'client' && stream.id > lastStreamId) stream.fail(unseen)
      else if (code !== ErrorCode.NO_ERROR) stream.fail(closed)
    }
  }

  windowUpdate(streamId: number, increment: number): void {
    if (!this.#allows('windowUpdate')) return
    const { outbox } = this
    if (streamId === 0) {
      outbox.window += increment
      if (outbox.window > MAX_WINDOW_SIZE) {
        const text = 'the window of the connection is beyond 2^31-1'
        this.failed(connectionError(ErrorCode.FLOW_CONTROL_ERROR, text))
      } else this.#events.wake()
      return
    }
    const stream = this.#table.open.get(streamId)
    if (stream === undefined) {
      if (this.#table.absence(streamId) === 'idle') this.#onIdle(streamId, 'WINDOW_UPDATE')
      return
    }
    stream.sendWindow += increment
    if (stream.sendWindow > MAX_WINDOW_SIZE) {
      const text = 'the window of the stream is beyond 2^31-1'
      this.failed(streamError(streamId, ErrorCode.FLOW_CONTROL_ERROR, text))
    } else if (stream.queue.length > 0) outbox.enqueue(stream)
  }

  unknown(_type: number, _length: number): void {
    this.#allows('unknownFrame')
  }

  failed(error: H2Error): void {
    if (this.#over) return
    if (error.scope === 'stream') {
      this.#failStream(error)
      return
    }
    const closed = new HboneError('HBONE_CLOSED', `the peer broke the protocol: ${error.message}`)
    this.goAway(error.code, error.message)
    this.#stop()
    for (const stream of this.#table.open.values()) stream.fail(closed)
    this.#events.failed(error)
  }

  #failStream({ streamId, code, message }: H2Error): void {
    if (this.#role === 'server' && !this.#allows('reset')) return
    const stream = this.#table.open.get(streamId)
    if (stream !== undefined) {
      const text = `the peer broke the protocol: ${message}`
      stream.reset(code, new HboneError('HBONE_PROTOCOL', text))
    } else if (this.#table.absence(streamId) === 'idle') {
      // RFC 9113 section 5.1: RST_STREAM must not be sent for a stream that was never opened.
      this.failed(connectionError(code, message))
    } else {
      this.sendReset(streamId, code)
      this.#events.refused({ scope: 'stream', streamId, code, message })
    }
  }

  #onRequest(id: number, fields: readonly HeaderField[], endStream: boolean): void {
    this.#table.lastId = id
    if (this.#table.open.size >= this.#limits.maxStreams) {
      const text = 'more streams than SETTINGS_MAX_CONCURRENT_STREAMS'
      this.failed(streamError(id, ErrorCode.REFUSED_STREAM, text))
      return
    }
    const message = parseRequest(fields)
    if (message.kind === 'malformed') {
      this.failed(streamError(id, ErrorCode.PROTOCOL_ERROR, message.reason))
      return
    }
    const stream = this.#add(id)
    stream.answered = true
    if (endStream) stream.receiveEnd()
    this.#events.request(stream, message)
  }

  #onAnswer(stream: Stream, fields: readonly HeaderField[], endStream: boolean): void {
    const message = parseResponse(fields)
    const informational = message.kind === 'response' && message.status < 200
    if (message.kind === 'malformed') {
      this.failed(streamError(stream.id, ErrorCode.PROTOCOL_ERROR, message.reason))
    } else if (informational && (endStream || ++stream.informational > MAX_INFORMATIONAL)) {
      const text = endStream ? 'END_STREAM with an informational answer' : 'too many 1xx answers'
      this.failed(streamError(stream.id, ErrorCode.PROTOCOL_ERROR, text))
    } else if (!informational) {
      stream.answered = true
      if (endStream) stream.receiveEnd()
      this.#events.answer(stream, message)
    }
  }

  /** Server: a stream that this HEADERS frame opens. */
  #isNew(streamId: number): boolean {
    const { lastId, goawayId } = this.#table
    return streamId % 2 === 1 && streamId > lastId && streamId <= goawayId
  }

  #find(streamId: number, what: string): Stream | undefined {
    const stream = this.#table.open.get(streamId)
    if (stream !== undefined) return stream
    switch (this.#table.absence(streamId)) {
      case 'idle':
        this.#onIdle(streamId, what)
        break
      case 'stale':
        this.#allows('staleFrame')
        break
      case 'closed':
        this.failed(
          connectionError(
            ErrorCode.STREAM_CLOSED,
            `${what} on stream ${streamId}, which has ended`,
          ),
        )
    }
    return undefined
  }

  #onIdle(streamId: number, what: string): void {
    const text = `${what} on stream ${streamId}, which is idle`
    this.failed(connectionError(ErrorCode.PROTOCOL_ERROR, text))
  }

  #add(id: number): Stream {
    const { startWindowBytes, streamWindowBytes } = this.#limits
    const window = new ReceiveWindow(this.#shares, startWindowBytes, streamWindowBytes)
    const stream = new Stream(this, id, this.#peer.startWindow, window)
    this.#table.open.set(id, stream)
    return stream
  }

  #creditConnection(): void {
    const increment = this.#limits.connectionWindowBytes - this.#window
    if (this.#over || increment * 4 < this.#limits.connectionWindowBytes) return
    this.#window += increment
    this.#sender.windowUpdate(0, increment)
  }

  #allows(kind: FloodKind): boolean {
    if (this.floods.allows(kind)) return true
    this.failed(connectionError(ErrorCode.ENHANCE_YOUR_CALM, `too much of one kind: ${kind}`))
    return false
  }

  #stop(): void {
    this.#over = true
    this.#reader.stop()
  }
}
