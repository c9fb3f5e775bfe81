import type { ConnectionLimits } from './connection-options.ts'
import { MAX_WINDOW_BYTES, START_WINDOW_BYTES } from './receive-window.ts'

/** What both ends of an HBONE connection can tune; what is left out has the defaults of Istio's node proxy. */
export interface HboneSettings {
  /** Bytes of one tunnel that a peer may send before the reader takes them: at first, */
  readonly startWindowBytes: number
  /** and when the tunnel has shown that it needs it. */
  readonly streamWindowBytes: number
  /** Bytes of all tunnels together that a peer may send before they have arrived. */
  readonly connectionWindowBytes: number
  /** The largest DATA frame that a peer may send. */
  readonly maxFrameBytes: number
}

export const DEFAULT_HBONE_SETTINGS: HboneSettings = {
  startWindowBytes: START_WINDOW_BYTES,
  streamWindowBytes: MAX_WINDOW_BYTES,
  connectionWindowBytes: 16 * 1024 * 1024,
  maxFrameBytes: 1024 * 1024,
}

const CLIENT_HEADER_LIST_BYTES = 16 * 1024
const SERVER_HEADER_LIST_BYTES = 64 * 1024
export const SERVER_MAX_TUNNELS = 200

export function clientLimits(settings: Partial<HboneSettings> = {}): ConnectionLimits {
  return {
    ...DEFAULT_HBONE_SETTINGS,
    ...settings,
    maxHeaderListBytes: CLIENT_HEADER_LIST_BYTES,
    maxStreams: 0,
  }
}

export function serverLimits(
  settings: Partial<HboneSettings> = {},
  maxTunnels = SERVER_MAX_TUNNELS,
): ConnectionLimits {
  return {
    ...DEFAULT_HBONE_SETTINGS,
    ...settings,
    maxHeaderListBytes: SERVER_HEADER_LIST_BYTES,
    maxStreams: maxTunnels,
  }
}
