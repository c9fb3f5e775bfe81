/** Numbers of HTTP/2 (RFC 9113) as far as a peer that speaks only CONNECT meets them. */

/** What a client says first (section 3.4). */
export const CLIENT_PREFACE: Uint8Array = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

/** Every frame begins with so many bytes (section 4.1). */
export const FRAME_HEAD_BYTES = 9

/** Frame types (section 6). */
export const FrameType = {
  DATA: 0x0,
  HEADERS: 0x1,
  PRIORITY: 0x2,
  RST_STREAM: 0x3,
  SETTINGS: 0x4,
  PUSH_PROMISE: 0x5,
  PING: 0x6,
  GOAWAY: 0x7,
  WINDOW_UPDATE: 0x8,
  CONTINUATION: 0x9,
} as const

/** Flags of frames; `ACK` and `END_STREAM` share a bit on different types. */
export const FrameFlag = {
  END_STREAM: 0x1,
  ACK: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const

/** Error codes of RST_STREAM and GOAWAY (section 7). */
export const ErrorCode = {
  NO_ERROR: 0x0,
  PROTOCOL_ERROR: 0x1,
  INTERNAL_ERROR: 0x2,
  FLOW_CONTROL_ERROR: 0x3,
  SETTINGS_TIMEOUT: 0x4,
  STREAM_CLOSED: 0x5,
  FRAME_SIZE_ERROR: 0x6,
  REFUSED_STREAM: 0x7,
  CANCEL: 0x8,
  COMPRESSION_ERROR: 0x9,
  CONNECT_ERROR: 0xa,
  ENHANCE_YOUR_CALM: 0xb,
  INADEQUATE_SECURITY: 0xc,
  HTTP_1_1_REQUIRED: 0xd,
} as const

/** Settings (section 6.5.2; `ENABLE_CONNECT_PROTOCOL` is RFC 8441 section 3). */
export const SettingId = {
  HEADER_TABLE_SIZE: 0x1,
  ENABLE_PUSH: 0x2,
  MAX_CONCURRENT_STREAMS: 0x3,
  INITIAL_WINDOW_SIZE: 0x4,
  MAX_FRAME_SIZE: 0x5,
  MAX_HEADER_LIST_SIZE: 0x6,
  ENABLE_CONNECT_PROTOCOL: 0x8,
} as const

/** Both the smallest and the first value of SETTINGS_MAX_FRAME_SIZE (section 6.5.2). */
export const MIN_MAX_FRAME_SIZE = 16_384
export const MAX_MAX_FRAME_SIZE = 0xff_ff_ff

/** Flow-control windows start here, of streams and of the connection (section 6.9.2). */
export const DEFAULT_WINDOW_SIZE = 65_535
export const MAX_WINDOW_SIZE = 0x7f_ff_ff_ff
export const MAX_STREAM_ID = 0x7f_ff_ff_ff

/** SETTINGS_HEADER_TABLE_SIZE before any SETTINGS (section 6.5.2). */
export const DEFAULT_HEADER_TABLE_SIZE = 4_096

/** One parameter of a SETTINGS frame; `id` may be one that we do not know. */
export interface Setting {
  readonly id: number
  readonly value: number
}

/** What the peer did wrong: the whole connection ends, or one stream (RFC 9113 section 5.4). */
export interface H2Error {
  readonly scope: 'connection' | 'stream'
  /** 0 with scope `connection`. */
  readonly streamId: number
  /** One of `ErrorCode`. */
  readonly code: number
  /** Names the frame, the place and the rule. */
  readonly message: string
}

export function connectionError(code: number, message: string): H2Error {
  return { scope: 'connection', streamId: 0, code, message }
}

export function streamError(streamId: number, code: number, message: string): H2Error {
  return { scope: 'stream', streamId, code, message }
}

const CODE_NAMES = new Map<number, string>(
  Object.entries(ErrorCode).map(([name, code]) => [code, name]),
)

/** The name of an error code for people; unknown codes are legal (section 7) and shown as numbers. */
export function errorCodeName(code: number): string {
  return CODE_NAMES.get(code) ?? `error ${code}`
}

const TYPE_NAMES = new Map<number, string>(
  Object.entries(FrameType).map(([name, type]) => [type, name]),
)

export function frameTypeName(type: number): string {
  return TYPE_NAMES.get(type) ?? `frame type ${type}`
}
