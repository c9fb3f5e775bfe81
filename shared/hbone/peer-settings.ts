import {
  connectionError,
  DEFAULT_WINDOW_SIZE,
  ErrorCode,
  type H2Error,
  MAX_WINDOW_SIZE,
  type Setting,
  SettingId,
} from './frame.ts'
import type { HpackEncoder } from './hpack-encoder.ts'
import type { Outbox } from './outbox.ts'
import type { Stream } from './stream.ts'

interface Affected {
  readonly role: 'client' | 'server'
  readonly streams: ReadonlyMap<number, Stream>
  readonly outbox: Outbox
  readonly hpack: HpackEncoder
}

/** What the peer has announced (RFC 9113 section 6.5.2), and its effect on what we send. */
export class PeerSettings {
  /** How many streams it lets us open at once. */
  maxStreams = Number.POSITIVE_INFINITY
  /** The window of a new stream. */
  startWindow = DEFAULT_WINDOW_SIZE
  readonly #affected: Affected

  constructor(affected: Affected) {
    this.#affected = affected
  }

  /** In the order of the frame; values are in their legal range. Returns what the peer did wrong. */
  apply(settings: readonly Setting[]): H2Error | undefined {
    for (const setting of settings) {
      const error = this.#apply(setting)
      if (error !== undefined) return error
    }
    return undefined
  }

  #apply({ id, value }: Setting): H2Error | undefined {
    const { outbox, hpack, role } = this.#affected
    switch (id) {
      case SettingId.HEADER_TABLE_SIZE:
        hpack.setPeerTableSize(value)
        break
      case SettingId.MAX_CONCURRENT_STREAMS:
        this.maxStreams = value
        break
      case SettingId.MAX_FRAME_SIZE:
        outbox.maxFrameSize = value
        break
      case SettingId.INITIAL_WINDOW_SIZE:
        return this.#applyStartWindow(value)
      case SettingId.ENABLE_PUSH:
        if (role === 'server' || value === 0) break
        return connectionError(ErrorCode.PROTOCOL_ERROR, 'a server that enables push')
    }
    return undefined
  }

  /** RFC 9113 section 6.9.2: the difference goes to every stream, also below zero. */
  #applyStartWindow(value: number): H2Error | undefined {
    const difference = value - this.startWindow
    this.startWindow = value
    for (const stream of this.#affected.streams.values()) {
      stream.sendWindow += difference
      if (stream.sendWindow > MAX_WINDOW_SIZE) {
        const text = 'SETTINGS_INITIAL_WINDOW_SIZE takes a window beyond 2^31-1'
        return connectionError(ErrorCode.FLOW_CONTROL_ERROR, text)
      }
      if (difference > 0 && stream.queue.length > 0) this.#affected.outbox.enqueue(stream)
    }
    return undefined
  }
}
