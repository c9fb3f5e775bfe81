import { MAX_STREAM_ID } from './frame.ts'
import type { Stream } from './stream.ts'

/** How many streams that were reset are remembered one by one. */
const REMEMBERED = 1_024

/**
 * What a frame for a stream without an entry means (RFC 9113 section 5.1):
 * - `idle`: nobody opened it;
 * - `stale`: it was reset, or turned away, and the peer may not have known: to be ignored;
 * - `closed`: it ended both ways, and the peer knew.
 */
export type Absence = 'idle' | 'stale' | 'closed'

/** The streams of one connection, which only the client opens. */
export class StreamTable {
  readonly open = new Map<number, Stream>()
  /** The highest id that was opened. */
  lastId = 0
  /** Ids above were turned away: we said GOAWAY with this one. */
  goawayId = MAX_STREAM_ID
  readonly #resets = new Set<number>()
  #forgotten = 0

  absence(streamId: number): Absence {
    if (streamId > this.goawayId && streamId % 2 === 1) return 'stale'
    if (streamId > this.lastId || streamId % 2 === 0) return 'idle'
    return this.#resets.has(streamId) || streamId <= this.#forgotten ? 'stale' : 'closed'
  }

  /** Remembers that the stream did not end by itself. */
  wasReset(streamId: number): void {
    this.#resets.add(streamId)
    if (this.#resets.size <= REMEMBERED) return
    for (const oldest of this.#resets) {
      this.#resets.delete(oldest)
      this.#forgotten = Math.max(this.#forgotten, oldest)
      return
    }
  }
}
