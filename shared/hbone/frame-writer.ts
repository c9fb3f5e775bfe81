import { FRAME_HEAD_BYTES, FrameFlag, FrameType, type Setting } from './frame.ts'

/**
 * Frames written into a buffer of the caller (RFC 9113 section 6). Every function writes at `at`, returns the
 * offset after what it wrote, and expects the room it says it needs: typed arrays drop what does not fit silently.
 */

/** Bytes of each frame of fixed size, the frame head included. */
export const PING_BYTES = FRAME_HEAD_BYTES + 8
export const WINDOW_UPDATE_BYTES = FRAME_HEAD_BYTES + 4
export const RST_STREAM_BYTES = FRAME_HEAD_BYTES + 4
export const SETTINGS_ACK_BYTES = FRAME_HEAD_BYTES

const SETTING_BYTES = 6
const GOAWAY_FIXED_BYTES = 8

/** The head of a DATA frame; `length` bytes of payload follow it. Takes `FRAME_HEAD_BYTES`. */
export function writeDataHead(
  out: Uint8Array,
  at: number,
  streamId: number,
  length: number,
  endStream: boolean,
): number {
  return writeHead(
    out,
    at,
    length,
    kind(FrameType.DATA, endStream ? FrameFlag.END_STREAM : 0),
    streamId,
  )
}

/** The room that `writeHeaders` needs for a header block of `blockBytes`. */
export function headersBytes(blockBytes: number, maxFrameSize: number): number {
  return blockBytes + FRAME_HEAD_BYTES * Math.max(1, Math.ceil(blockBytes / maxFrameSize))
}

export interface HeadersOptions {
  readonly endStream: boolean
  /** The peer's SETTINGS_MAX_FRAME_SIZE: what is beyond goes into CONTINUATION frames. */
  readonly maxFrameSize: number
}

/** HEADERS and as many CONTINUATION frames as the block needs. Takes `headersBytes`. */
export function writeHeaders(
  out: Uint8Array,
  at: number,
  streamId: number,
  block: Uint8Array,
  options: HeadersOptions,
): number {
  const { endStream, maxFrameSize } = options
  let type: number = FrameType.HEADERS
  let flags: number = endStream ? FrameFlag.END_STREAM : 0
  let from = 0
  do {
    const length = Math.min(block.length - from, maxFrameSize)
    const last = from + length === block.length
    at = writeHead(
      out,
      at,
      length,
      kind(type, last ? flags | FrameFlag.END_HEADERS : flags),
      streamId,
    )
    out.set(length === block.length ? block : block.subarray(from, from + length), at)
    at += length
    from += length
    type = FrameType.CONTINUATION
    flags = 0
  } while (from < block.length)
  return at
}

export function settingsBytes(count: number): number {
  return FRAME_HEAD_BYTES + SETTING_BYTES * count
}

/** Takes `settingsBytes(settings.length)`. */
export function writeSettings(out: Uint8Array, at: number, settings: readonly Setting[]): number {
  at = writeHead(out, at, settings.length * SETTING_BYTES, kind(FrameType.SETTINGS, 0), 0)
  for (const { id, value } of settings) {
    out[at] = id >>> 8
    out[at + 1] = id
    at = writeU32(out, at + 2, value)
  }
  return at
}

export function writeSettingsAck(out: Uint8Array, at: number): number {
  return writeHead(out, at, 0, kind(FrameType.SETTINGS, FrameFlag.ACK), 0)
}

/** The eight opaque bytes as two numbers of 32 bits, so that no buffer is needed for them. */
export function writePing(
  out: Uint8Array,
  at: number,
  high: number,
  low: number,
  ack: boolean,
): number {
  at = writeHead(out, at, 8, kind(FrameType.PING, ack ? FrameFlag.ACK : 0), 0)
  return writeU32(out, writeU32(out, at, high), low)
}

export function goawayBytes(debug: string): number {
  return FRAME_HEAD_BYTES + GOAWAY_FIXED_BYTES + debug.length
}

/** `debug` is for the peer's log; characters beyond ASCII become `?`. Takes `goawayBytes(debug)`. */
export function writeGoaway(
  out: Uint8Array,
  at: number,
  lastStreamId: number,
  code: number,
  debug: string,
): number {
  at = writeHead(out, at, GOAWAY_FIXED_BYTES + debug.length, kind(FrameType.GOAWAY, 0), 0)
  at = writeU32(out, writeU32(out, at, lastStreamId), code)
  for (let index = 0; index < debug.length; index++) {
    const unit = debug.charCodeAt(index)
    out[at++] = unit < 0x80 ? unit : 0x3f
  }
  return at
}

/** `streamId` 0 is the connection; `increment` is 1 to 2^31-1. */
export function writeWindowUpdate(
  out: Uint8Array,
  at: number,
  streamId: number,
  increment: number,
): number {
  at = writeHead(out, at, 4, kind(FrameType.WINDOW_UPDATE, 0), streamId)
  return writeU32(out, at, increment)
}

export function writeRstStream(
  out: Uint8Array,
  at: number,
  streamId: number,
  code: number,
): number {
  return writeU32(out, writeHead(out, at, 4, kind(FrameType.RST_STREAM, 0), streamId), code)
}

/** Type and flags as they lie side by side in the frame head. */
function kind(type: number, flags: number): number {
  return (type << 8) | flags
}

function writeHead(
  out: Uint8Array,
  at: number,
  length: number,
  kind: number,
  streamId: number,
): number {
  out[at] = length >>> 16
  out[at + 1] = length >>> 8
  out[at + 2] = length
  out[at + 3] = kind >>> 8
  out[at + 4] = kind
  return writeU32(out, at + 5, streamId)
}

function writeU32(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 24
  out[at + 1] = value >>> 16
  out[at + 2] = value >>> 8
  out[at + 3] = value
  return at + 4
}
