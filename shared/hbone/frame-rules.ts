import {
  connectionError,
  ErrorCode,
  FrameFlag,
  FrameType,
  frameTypeName,
  type H2Error,
  MAX_MAX_FRAME_SIZE,
  MAX_WINDOW_SIZE,
  MIN_MAX_FRAME_SIZE,
  type Setting,
  SettingId,
  streamError,
} from './frame.ts'

/** A frame head as it lies on the wire, the reserved bit taken off. */
export interface FrameHead {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly length: number
}

/** More settings in one frame than any peer has reason to send; there are a dozen in the registry. */
const MAX_SETTINGS_BYTES = 64 * 6

const PRIORITY_BYTES = 5

/** Bytes that padding and priority put in front of a header block or of data. */
export function prefixBytes(type: number, flags: number): number {
  const padLength = (flags & FrameFlag.PADDED) === 0 ? 0 : 1
  const priority =
    type === FrameType.HEADERS && (flags & FrameFlag.PRIORITY) !== 0 ? PRIORITY_BYTES : 0
  return padLength + priority
}

/**
 * What is wrong with a frame that its head alone tells: the stream it is on, its size (RFC 9113 sections 4.2, 6.1
 * to 6.10). The caller has compared the size with SETTINGS_MAX_FRAME_SIZE.
 */
export function checkHead(head: FrameHead): H2Error | undefined {
  return checkPlace(head) ?? checkSize(head)
}

function checkPlace(head: FrameHead): H2Error | undefined {
  switch (head.type) {
    case FrameType.DATA:
    case FrameType.HEADERS:
    case FrameType.PRIORITY:
    case FrameType.RST_STREAM:
      return onStream(head)
    case FrameType.SETTINGS:
    case FrameType.PING:
    case FrameType.GOAWAY:
      return onConnection(head)
    case FrameType.PUSH_PROMISE:
      // A client must not push, and as a client we always say ENABLE_PUSH = 0 (section 8.4).
      return connectionError(ErrorCode.PROTOCOL_ERROR, 'PUSH_PROMISE is not allowed')
    case FrameType.CONTINUATION:
      // One that continues something never gets here.
      return connectionError(ErrorCode.PROTOCOL_ERROR, 'CONTINUATION without HEADERS before it')
    default:
      return undefined
  }
}

function checkSize(head: FrameHead): H2Error | undefined {
  switch (head.type) {
    case FrameType.DATA:
    case FrameType.HEADERS:
      return atLeast(head, prefixBytes(head.type, head.flags))
    case FrameType.PRIORITY:
      return checkPriority(head)
    case FrameType.SETTINGS:
      return checkSettingsHead(head)
    case FrameType.PING:
      return exactly(head, 8)
    case FrameType.GOAWAY:
      return atLeast(head, 8)
    case FrameType.RST_STREAM:
    case FrameType.WINDOW_UPDATE:
      return exactly(head, 4)
    default:
      return undefined
  }
}

/** What is wrong with one parameter (section 6.5.2). Limits on what we know only; the rest is ignored. */
export function checkSetting({ id, value }: Setting): H2Error | undefined {
  switch (id) {
    case SettingId.ENABLE_PUSH:
    case SettingId.ENABLE_CONNECT_PROTOCOL:
      if (value > 1) return badSetting(ErrorCode.PROTOCOL_ERROR, id, value)
      return undefined
    case SettingId.INITIAL_WINDOW_SIZE:
      if (value > MAX_WINDOW_SIZE) return badSetting(ErrorCode.FLOW_CONTROL_ERROR, id, value)
      return undefined
    case SettingId.MAX_FRAME_SIZE:
      if (value < MIN_MAX_FRAME_SIZE || value > MAX_MAX_FRAME_SIZE)
        return badSetting(ErrorCode.PROTOCOL_ERROR, id, value)
      return undefined
    default:
      return undefined
  }
}

function badSetting(code: number, id: number, value: number): H2Error {
  return connectionError(code, `SETTINGS parameter ${id} cannot be ${value}`)
}

function onStream({ type, streamId }: FrameHead): H2Error | undefined {
  if (streamId !== 0) return undefined
  return connectionError(ErrorCode.PROTOCOL_ERROR, `${frameTypeName(type)} needs a stream`)
}

function onConnection({ type, streamId }: FrameHead): H2Error | undefined {
  if (streamId === 0) return undefined
  const what = `${frameTypeName(type)} on stream ${streamId} belongs to the connection`
  return connectionError(ErrorCode.PROTOCOL_ERROR, what)
}

function exactly(head: FrameHead, bytes: number): H2Error | undefined {
  return head.length === bytes ? undefined : badSize(head)
}

function atLeast(head: FrameHead, bytes: number): H2Error | undefined {
  return head.length >= bytes ? undefined : badSize(head)
}

function badSize({ type, streamId, length }: FrameHead): H2Error {
  const what = `${frameTypeName(type)} on stream ${streamId} cannot have ${length} bytes`
  return connectionError(ErrorCode.FRAME_SIZE_ERROR, what)
}

function checkPriority({ streamId, length }: FrameHead): H2Error | undefined {
  if (length === PRIORITY_BYTES) return undefined
  const what = `PRIORITY on stream ${streamId} cannot have ${length} bytes`
  return streamError(streamId, ErrorCode.FRAME_SIZE_ERROR, what)
}

function checkSettingsHead(head: FrameHead): H2Error | undefined {
  if ((head.flags & FrameFlag.ACK) !== 0) return exactly(head, 0)
  if (head.length % 6 !== 0) return badSize(head)
  if (head.length <= MAX_SETTINGS_BYTES) return undefined
  return connectionError(ErrorCode.ENHANCE_YOUR_CALM, `SETTINGS of ${head.length} bytes`)
}
