import {
  CLIENT_PREFACE,
  connectionError,
  ErrorCode,
  FRAME_HEAD_BYTES,
  FrameFlag,
  FrameType,
  frameTypeName,
  type H2Error,
  type Setting,
  streamError,
} from './frame.ts'
import type { FrameHandler } from './frame-handler.ts'
import { checkHead, checkSetting, type FrameHead, prefixBytes } from './frame-rules.ts'
import { HeaderBlock } from './header-block.ts'

export interface FrameLimits {
  /** The SETTINGS_MAX_FRAME_SIZE that we announced. */
  readonly maxFrameSize: number
  /** Of one header block as it lies on the wire. More ends the connection: it could not be decoded. */
  readonly maxHeaderBlockBytes: number
  /** HEADERS and CONTINUATION frames of one block, so that empty ones cannot keep us busy for ever. */
  readonly maxHeaderFragments: number
}

/** From a client the connection preface is expected first (RFC 9113 section 3.4). */
export type PeerRole = 'client' | 'server'

/** Debug text of GOAWAY beyond this is dropped. */
const MAX_DEBUG_BYTES = 256
const GOAWAY_FIXED_BYTES = 8
/** The largest frame that is gathered here: SETTINGS of 64 parameters. */
const SCRATCH_BYTES = 384
/** Padding and priority do not count against the size of a header block. */
const MAX_PREFIX_AND_PADDING = 6 + 255
const NO_BYTES = new Uint8Array(0)

/** What the next byte is. */
const Phase = {
  PREFACE: 0,
  HEAD: 1,
  PAD_LENGTH: 2,
  DATA: 3,
  PADDING: 4,
  BLOCK: 5,
  SMALL: 6,
  SKIP: 7,
  STOPPED: 8,
} as const
type Phase = (typeof Phase)[keyof typeof Phase]

/**
 * Frames out of bytes (RFC 9113 sections 3.4, 4, 6): however the stream is cut into chunks, the events are the same
 * but for the pieces of DATA. DATA is never copied; what else is cut by the end of a chunk is gathered.
 *
 * Invariants: `#left` counts the bytes of the current phase that have not come yet. The phase is set before a
 * handler is called, since the handler may call `stop`; after a call nothing but the phase is trusted.
 */
export class FrameReader {
  readonly #handler: FrameHandler
  readonly #limits: FrameLimits
  readonly #block = new HeaderBlock()
  #scratch: Uint8Array | undefined
  #scratchFill = 0

  #phase: Phase
  #left = 0
  #padLeft = 0
  #firstFrame = true

  #type = 0
  #flags = 0
  #streamId = 0
  #length = 0

  /** The stream whose header block goes on with the next frame; 0 when none does. */
  #blockStream = 0
  #blockEndStream = false
  #fragments = 0
  /** Where in `#block` the payload of the current frame begins. */
  #fragmentAt = 0

  constructor(peer: PeerRole, limits: FrameLimits, handler: FrameHandler) {
    this.#handler = handler
    this.#limits = limits
    this.#phase = peer === 'client' ? Phase.PREFACE : Phase.HEAD
    this.#left = CLIENT_PREFACE.length
  }

  /** True after a connection error or `stop`: further bytes are ignored. */
  get stopped(): boolean {
    return this.#phase === Phase.STOPPED
  }

  /** A header block began and its end has not come: the time a peer may take for it is the owner's to limit. */
  get inHeaderBlock(): boolean {
    return this.#blockStream !== 0 || this.#phase === Phase.BLOCK
  }

  /** Reads nothing any more, also of the chunk that is being read. */
  stop(): void {
    this.#phase = Phase.STOPPED
    this.#block.clear()
  }

  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      switch (this.#phase) {
        case Phase.HEAD:
          at = this.#readHead(chunk, at)
          break
        case Phase.DATA:
          at = this.#readData(chunk, at)
          break
        case Phase.SMALL:
          at = this.#readSmall(chunk, at)
          break
        case Phase.BLOCK:
          at = this.#readBlock(chunk, at)
          break
        case Phase.PAD_LENGTH:
          this.#dataStarts(byteAt(chunk, at++))
          break
        case Phase.PADDING:
        case Phase.SKIP:
          at = this.#skip(chunk, at)
          break
        case Phase.PREFACE:
          at = this.#readPreface(chunk, at)
          break
        case Phase.STOPPED:
          return
      }
    }
  }

  #readPreface(chunk: Uint8Array, at: number): number {
    const size = CLIENT_PREFACE.length
    while (this.#left > 0 && at < chunk.length) {
      if (chunk[at++] !== CLIENT_PREFACE[size - this.#left]) {
        this.#fail(ErrorCode.PROTOCOL_ERROR, 'the client does not begin with the HTTP/2 preface')
        return chunk.length
      }
      this.#left--
    }
    if (this.#left === 0) this.#phase = Phase.HEAD
    return at
  }

  #readHead(chunk: Uint8Array, at: number): number {
    if (this.#scratchFill === 0 && chunk.length - at >= FRAME_HEAD_BYTES) {
      this.#begin(chunk, at)
      return at + FRAME_HEAD_BYTES
    }
    at = this.#gather(chunk, at, FRAME_HEAD_BYTES)
    if (this.#scratchFill === FRAME_HEAD_BYTES) {
      this.#scratchFill = 0
      this.#begin(this.#scratchBytes(), 0)
    }
    return at
  }

  /** The nine bytes at `at` are a frame head. */
  #begin(source: Uint8Array, at: number): void {
    const length =
      (byteAt(source, at) << 16) | (byteAt(source, at + 1) << 8) | byteAt(source, at + 2)
    const type = byteAt(source, at + 3)
    const flags = byteAt(source, at + 4)
    const streamId = u32At(source, at + 5) & 0x7f_ff_ff_ff
    this.#type = type
    this.#flags = flags
    this.#streamId = streamId
    this.#length = length
    if (length > this.#limits.maxFrameSize) {
      const what = `${frameTypeName(type)} of ${length} bytes is longer than allowed`
      return this.#fail(ErrorCode.FRAME_SIZE_ERROR, what)
    }
    if (this.#blockStream !== 0) return this.#beginContinuation()
    if (this.#firstFrame && !this.#isPeersPreface()) return
    if (type !== FrameType.DATA || streamId === 0) return this.#beginOther()
    if ((flags & FrameFlag.PADDED) !== 0) return this.#beginPadded()
    this.#padLeft = 0
    this.#left = length
    this.#phase = Phase.DATA
    this.#handler.dataBegin(streamId, length, length, (flags & FrameFlag.END_STREAM) !== 0)
    if (length === 0) this.#dataDone()
  }

  /** The first frame of a peer is its SETTINGS (section 3.4). */
  #isPeersPreface(): boolean {
    this.#firstFrame = false
    if (this.#type === FrameType.SETTINGS && (this.#flags & FrameFlag.ACK) === 0) return true
    const what = `the first frame is ${frameTypeName(this.#type)}, not SETTINGS`
    this.#fail(ErrorCode.PROTOCOL_ERROR, what)
    return false
  }

  #beginOther(): void {
    const head: FrameHead = {
      type: this.#type,
      flags: this.#flags,
      streamId: this.#streamId,
      length: this.#length,
    }
    const error = checkHead(head)
    if (error !== undefined) return this.#refuse(error)
    if (head.type === FrameType.HEADERS) return this.#beginHeaders()
    this.#left = head.length
    if (head.type > FrameType.CONTINUATION) {
      this.#phase = head.length === 0 ? Phase.HEAD : Phase.SKIP
      return this.#handler.unknown(head.type, head.length)
    }
    this.#phase = Phase.SMALL
    if (head.length === 0) this.#smallDone(NO_BYTES, 0)
  }

  // DATA

  #beginPadded(): void {
    if (this.#length > 0) {
      this.#phase = Phase.PAD_LENGTH
      return
    }
    const what = `padded DATA on stream ${this.#streamId} without a pad length`
    this.#fail(ErrorCode.FRAME_SIZE_ERROR, what)
  }

  #dataStarts(padLength: number): void {
    if (padLength >= this.#length) return this.#padTooLong(padLength)
    const dataBytes = this.#length - 1 - padLength
    this.#padLeft = padLength
    this.#left = dataBytes
    this.#phase = Phase.DATA
    this.#handler.dataBegin(this.#streamId, this.#length, dataBytes, this.#endStream())
    if (dataBytes === 0) this.#dataDone()
  }

  #readData(chunk: Uint8Array, at: number): number {
    const end = Math.min(at + this.#left, chunk.length)
    this.#left -= end - at
    this.#handler.dataSlice(chunk, at, end)
    if (this.#left === 0) this.#dataDone()
    return end
  }

  #dataDone(): void {
    if (this.#phase === Phase.STOPPED) return
    if (this.#padLeft > 0) {
      this.#left = this.#padLeft
      this.#phase = Phase.PADDING
      return
    }
    this.#phase = Phase.HEAD
    this.#handler.dataEnd(this.#streamId, this.#endStream())
  }

  #skip(chunk: Uint8Array, at: number): number {
    const end = Math.min(at + this.#left, chunk.length)
    this.#left -= end - at
    if (this.#left > 0) return end
    const padding = this.#phase === Phase.PADDING
    this.#phase = Phase.HEAD
    if (padding) this.#handler.dataEnd(this.#streamId, this.#endStream())
    return end
  }

  // Header blocks

  #beginHeaders(): void {
    this.#blockEndStream = this.#endStream()
    this.#fragments = 0
    this.#beginFragment()
  }

  /** Nothing may come between the frames of a block (section 6.10). */
  #beginContinuation(): void {
    if (this.#type === FrameType.CONTINUATION && this.#streamId === this.#blockStream)
      return this.#beginFragment()
    const name = frameTypeName(this.#type)
    const what = `${name} on stream ${this.#streamId} inside the header block of stream ${this.#blockStream}`
    this.#fail(ErrorCode.PROTOCOL_ERROR, what)
  }

  #beginFragment(): void {
    this.#fragments++
    const { maxHeaderBlockBytes, maxHeaderFragments } = this.#limits
    const bytes = this.#block.length + this.#length
    if (
      bytes > maxHeaderBlockBytes + MAX_PREFIX_AND_PADDING ||
      this.#fragments > maxHeaderFragments
    ) {
      const what = `header block of stream ${this.#streamId}: ${bytes} bytes in ${this.#fragments} frames`
      return this.#fail(ErrorCode.ENHANCE_YOUR_CALM, what)
    }
    this.#fragmentAt = this.#block.length
    this.#left = this.#length
    this.#phase = Phase.BLOCK
    if (this.#length === 0) this.#fragmentDone()
  }

  #readBlock(chunk: Uint8Array, at: number): number {
    const end = Math.min(at + this.#left, chunk.length)
    const whole = end - at === this.#length
    this.#left -= end - at
    if (whole && this.#fragments === 1 && this.#endHeaders()) {
      const prefix = this.#type === FrameType.HEADERS ? prefixBytes(this.#type, this.#flags) : 0
      const padded = (this.#flags & FrameFlag.PADDED) !== 0
      const bodyEnd = end - (padded ? byteAt(chunk, at) : 0)
      if (at + prefix > bodyEnd) this.#padTooLong(end - bodyEnd)
      else this.#blockDone(chunk, at + prefix, bodyEnd)
      return end
    }
    this.#block.append(chunk, at, end)
    if (this.#left === 0) this.#fragmentDone()
    return end
  }

  #fragmentDone(): void {
    if (this.#type === FrameType.HEADERS && !this.#trimHeaders()) return
    if (this.#endHeaders()) {
      this.#blockDone(this.#block.bytes, 0, this.#block.length)
      return
    }
    this.#blockStream = this.#streamId
    this.#phase = Phase.HEAD
  }

  #trimHeaders(): boolean {
    const prefix = prefixBytes(this.#type, this.#flags)
    if (prefix === 0) return true
    const padded = (this.#flags & FrameFlag.PADDED) !== 0
    const padLength = padded ? byteAt(this.#block.bytes, this.#fragmentAt) : 0
    if (prefix + padLength > this.#length) {
      this.#padTooLong(padLength)
      return false
    }
    this.#block.trim(this.#fragmentAt, prefix, this.#length - padLength)
    return true
  }

  #blockDone(source: Uint8Array, start: number, end: number): void {
    if (end - start > this.#limits.maxHeaderBlockBytes) {
      const what = `header block of stream ${this.#streamId} has ${end - start} bytes`
      return this.#fail(ErrorCode.ENHANCE_YOUR_CALM, what)
    }
    this.#blockStream = 0
    this.#phase = Phase.HEAD
    this.#handler.headers(this.#streamId, source, start, end, this.#blockEndStream)
    this.#block.clear()
  }

  // Small frames

  #readSmall(chunk: Uint8Array, at: number): number {
    const want = this.#smallBytes()
    if (this.#scratchFill === 0 && chunk.length - at >= want) {
      this.#smallDone(chunk, at)
      return at + want
    }
    const end = this.#gather(chunk, at, want)
    if (this.#scratchFill === want) {
      this.#scratchFill = 0
      this.#smallDone(this.#scratchBytes(), 0)
    }
    return end
  }

  /** How much of the payload is looked at: all of it, but for the debug data of GOAWAY. */
  #smallBytes(): number {
    return Math.min(this.#length, SCRATCH_BYTES)
  }

  #smallDone(source: Uint8Array, at: number): void {
    this.#left = this.#length - this.#smallBytes()
    this.#phase = this.#left === 0 ? Phase.HEAD : Phase.SKIP
    const handler = this.#handler
    const ack = (this.#flags & FrameFlag.ACK) !== 0
    switch (this.#type) {
      case FrameType.WINDOW_UPDATE:
        return this.#windowUpdate(u32At(source, at) & 0x7f_ff_ff_ff)
      case FrameType.RST_STREAM:
        return handler.rstStream(this.#streamId, u32At(source, at))
      case FrameType.PING:
        return handler.ping(u32At(source, at), u32At(source, at + 4), ack)
      case FrameType.SETTINGS:
        return ack ? handler.settingsAck() : this.#settings(source, at)
      case FrameType.GOAWAY:
        return this.#goaway(source, at)
      default:
        return handler.priority(this.#streamId)
    }
  }

  #windowUpdate(increment: number): void {
    if (increment > 0) return this.#handler.windowUpdate(this.#streamId, increment)
    const code = ErrorCode.PROTOCOL_ERROR
    if (this.#streamId === 0) return this.#fail(code, 'WINDOW_UPDATE of 0 bytes')
    const what = `WINDOW_UPDATE of 0 bytes on stream ${this.#streamId}`
    this.#handler.failed(streamError(this.#streamId, code, what))
  }

  #settings(source: Uint8Array, at: number): void {
    const settings: Setting[] = []
    for (const end = at + this.#length; at < end; at += 6) {
      const setting = { id: u16At(source, at), value: u32At(source, at + 2) }
      const error = checkSetting(setting)
      if (error !== undefined) return this.#refuse(error)
      settings.push(setting)
    }
    this.#handler.settings(settings)
  }

  #goaway(source: Uint8Array, at: number): void {
    const from = at + GOAWAY_FIXED_BYTES
    const to = Math.min(at + this.#length, from + MAX_DEBUG_BYTES)
    const debug = Buffer.from(source.buffer, source.byteOffset + from, to - from).toString('latin1')
    this.#handler.goaway(u32At(source, at) & 0x7f_ff_ff_ff, u32At(source, at + 4), debug)
  }

  // Common to all

  /** Moves bytes into the scratch until it holds `want`; returns where to go on in the chunk. */
  #gather(chunk: Uint8Array, at: number, want: number): number {
    const end = Math.min(chunk.length, at + want - this.#scratchFill)
    const scratch = this.#scratchBytes()
    while (at < end) scratch[this.#scratchFill++] = byteAt(chunk, at++)
    return end
  }

  #scratchBytes(): Uint8Array {
    this.#scratch ??= new Uint8Array(SCRATCH_BYTES)
    return this.#scratch
  }

  #endStream(): boolean {
    return (this.#flags & FrameFlag.END_STREAM) !== 0
  }

  #endHeaders(): boolean {
    return (this.#flags & FrameFlag.END_HEADERS) !== 0
  }

  #padTooLong(padLength: number): void {
    const name = frameTypeName(this.#type)
    const what = `${name} on stream ${this.#streamId}: padding of ${padLength} in ${this.#length} bytes`
    this.#fail(ErrorCode.PROTOCOL_ERROR, what)
  }

  #fail(code: number, message: string): void {
    this.#refuse(connectionError(code, message))
  }

  #refuse(error: H2Error): void {
    if (error.scope === 'connection') this.stop()
    else {
      this.#left = this.#length
      this.#phase = this.#length === 0 ? Phase.HEAD : Phase.SKIP
    }
    this.#handler.failed(error)
  }
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}

function u16At(bytes: Uint8Array, at: number): number {
  return (byteAt(bytes, at) << 8) | byteAt(bytes, at + 1)
}

function u32At(bytes: Uint8Array, at: number): number {
  return ((u16At(bytes, at) << 16) | u16At(bytes, at + 2)) >>> 0
}
