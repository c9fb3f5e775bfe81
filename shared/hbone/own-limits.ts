import type { ConnectionLimits } from './connection-options.ts'
import { type Setting, SettingId } from './frame.ts'
import type { FrameLimits } from './frame-reader.ts'
import type { HeaderLimits } from './hpack-decoder.ts'
import { GROWTH_BYTES } from './receive-window.ts'

const MAX_HEADER_FRAGMENTS = 64
const MAX_FIELDS = 256
/** What one stream may hold beside its window: its queues, which are not exactly as long as what they hold. */
const QUEUE_BYTES = 512 * 1024
/** Streams that a client is assumed to have, for the bound on its memory. */
const CLIENT_STREAMS = 200

/** What a connection may hold for its peer, in bytes. */
export function memoryBound({ maxStreams, startWindowBytes }: ConnectionLimits): number {
  const streams = maxStreams === 0 ? CLIENT_STREAMS : maxStreams
  return streams * (startWindowBytes + QUEUE_BYTES) + GROWTH_BYTES
}

/** What is announced to the peer. */
export function ownSettings(role: 'client' | 'server', limits: ConnectionLimits): Setting[] {
  return [
    role === 'client'
      ? { id: SettingId.ENABLE_PUSH, value: 0 }
      : { id: SettingId.MAX_CONCURRENT_STREAMS, value: limits.maxStreams },
    { id: SettingId.INITIAL_WINDOW_SIZE, value: limits.startWindowBytes },
    { id: SettingId.MAX_FRAME_SIZE, value: limits.maxFrameBytes },
    { id: SettingId.MAX_HEADER_LIST_SIZE, value: limits.maxHeaderListBytes },
  ]
}

export function frameLimits({ maxFrameBytes, maxHeaderListBytes }: ConnectionLimits): FrameLimits {
  return {
    maxFrameSize: maxFrameBytes,
    // A block is hardly ever longer than its list; twice that leaves room to decode and refuse it politely.
    maxHeaderBlockBytes: maxHeaderListBytes * 2,
    maxHeaderFragments: MAX_HEADER_FRAGMENTS,
  }
}

export function headerLimits({ maxHeaderListBytes }: ConnectionLimits): HeaderLimits {
  return {
    maxListBytes: maxHeaderListBytes,
    maxFields: MAX_FIELDS,
    maxNameBytes: maxHeaderListBytes,
    maxValueBytes: maxHeaderListBytes,
  }
}
