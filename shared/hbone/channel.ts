/**
 * One connection's bytes without a Node stream around them: what a tunnel is inside, and what a TCP socket can be
 * made into. All calls, both ways, are synchronous and happen on the thread that owns the channel.
 *
 * A channel starts paused. It half-closes both ways. It stops in one of two ways: `ended` and `finished` have both
 * been told (in any order), or `failed` once; after that nothing is told any more.
 */
export interface Channel {
  /** Once. Tells `failed` at once if the channel has failed before. */
  attach(sink: ChannelSink): void
  /**
   * Takes all of `chunk`, and copies it if it cannot go out at once: the caller may use the memory again. False asks
   * the caller to wait for `drained`; a caller that does not wait is not refused, but its memory is not bounded.
   */
  write(chunk: Uint8Array): boolean
  /** No more writes; what is queued still goes out. */
  end(): void
  /** Stops both directions so that the peer sees a failure. Tells `failed`. Does nothing after a clean end. */
  cut(cause: Error): void
  pause(): void
  /** Tells what has gathered, from inside this call, until it is paused again. */
  resume(): void
}

export interface ChannelSink {
  /** `chunk` is valid only during the call. */
  data(chunk: Uint8Array): void
  /** The peer will send no more, and all it sent was told. */
  ended(): void
  /** After a `write` that returned false: there is room again. */
  drained(): void
  /** All that was written, and the end, have left this process. */
  finished(): void
  failed(error: Error): void
}

/** The bytes that a channel keeps for its peer before `write` returns false, and where `drained` is told. */
export const WRITE_HIGH_BYTES = 128 * 1024
export const WRITE_LOW_BYTES = 32 * 1024
