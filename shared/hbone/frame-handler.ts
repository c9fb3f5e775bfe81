import type { H2Error, Setting } from './frame.ts'

/**
 * What a `FrameReader` saw, in the order of the wire. Frames that break a rule of framing never arrive here, only
 * `failed` does. Whether a frame fits the state of its stream, and how many of a kind are too many, is for the
 * handler to judge. Buffers are lent for the time of the call.
 */
export interface FrameHandler {
  /**
   * A DATA frame begins. `flowBytes` counts against the windows: the whole payload with its padding (RFC 9113
   * section 6.9.1); `dataBytes` of it come by `dataSlice`, in any number of pieces, then `dataEnd`.
   */
  dataBegin(streamId: number, flowBytes: number, dataBytes: number, endStream: boolean): void
  /** Bytes `start` to `end` of `chunk` belong to the DATA frame that began last. Never empty. */
  dataSlice(chunk: Uint8Array, start: number, end: number): void
  dataEnd(streamId: number, endStream: boolean): void
  /** A whole header block (HEADERS and its CONTINUATIONs, without padding and priority). */
  headers(streamId: number, block: Uint8Array, start: number, end: number, endStream: boolean): void
  /** Priorities are not kept (RFC 9113 section 5.3.2); told only so that a flood can be counted. */
  priority(streamId: number): void
  rstStream(streamId: number, code: number): void
  /** Values are in their legal range; ids may be unknown. */
  settings(settings: readonly Setting[]): void
  settingsAck(): void
  /** The opaque bytes as two unsigned numbers of 32 bits. */
  ping(high: number, low: number, ack: boolean): void
  goaway(lastStreamId: number, code: number, debug: string): void
  /** `streamId` 0 is the connection. */
  windowUpdate(streamId: number, increment: number): void
  /** A frame of an unknown type is being skipped (RFC 9113 section 4.1); told so that a flood can be counted. */
  unknown(type: number, length: number): void
  /** With scope `connection` the reader has stopped for good; with scope `stream` it goes on. */
  failed(error: H2Error): void
}
