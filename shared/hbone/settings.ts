import type { Settings } from 'node:http2'

/** What both ends of an HBONE connection can tune. */
export interface HboneSettings {
  /** Bytes of one tunnel that a peer may send before the reader takes them. */
  readonly streamWindowBytes: number
  /** Bytes of all tunnels together that a peer may send before they have arrived. */
  readonly connectionWindowBytes: number
  /** The largest DATA frame that a peer may send. */
  readonly maxFrameBytes: number
}

/**
 * Istio's node proxy has the same but for the connection window, which is 16 MiB there. node:http2 reads nothing
 * while a write of its own waits for the socket. If both ends do so, and more may be under way than the kernel
 * buffers of a young connection take (about 128 KiB), both wait for ever. The protocol's initial window is below
 * that. Nor does it have to be larger than the windows of the tunnels: node:http2 gives credit for the connection
 * when bytes arrive, not when they are read. To be raised with a codec that reads while it writes.
 */
export const DEFAULT_HBONE_SETTINGS: HboneSettings = {
  streamWindowBytes: 4 * 1024 * 1024,
  connectionWindowBytes: 65_535,
  maxFrameBytes: 1024 * 1024,
}

export const CLIENT_HEADER_LIST_BYTES = 16 * 1024
export const SERVER_HEADER_LIST_BYTES = 64 * 1024
export const SERVER_MAX_TUNNELS = 200

/** How long a connection that has nothing left to say may take to close its socket, in milliseconds. */
export const LINGER_MS = 2_000

/**
 * node:http2 refuses new streams while a session holds more than this (its default is 10 MB, less than one
 * window here). What can pile up is bounded by the windows, so the limit only has to lie above them.
 */
export const SESSION_MEMORY_MB = 2_048

export function http2Settings(settings: HboneSettings, headerListBytes: number): Settings {
  return {
    initialWindowSize: settings.streamWindowBytes,
    maxFrameSize: settings.maxFrameBytes,
    maxHeaderListSize: headerListBytes,
  }
}
