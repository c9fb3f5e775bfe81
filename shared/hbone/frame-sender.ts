import { CLIENT_PREFACE, type Setting } from './frame.ts'
import {
  goawayBytes,
  headersBytes,
  PING_BYTES,
  RST_STREAM_BYTES,
  SETTINGS_ACK_BYTES,
  settingsBytes,
  WINDOW_UPDATE_BYTES,
  writeGoaway,
  writeHeaders,
  writePing,
  writeRstStream,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from './frame-writer.ts'
import { HeaderBlockCache, HpackEncoder } from './hpack-encoder.ts'
import type { HeaderField } from './hpack-static.ts'
import type { Outbox } from './outbox.ts'

/** Blocks that repeat: answers, mostly. One cache a thread. */
const blocks = new HeaderBlockCache({ maxBlocks: 256, huffman: false })

/** Puts frames other than DATA into an outbox. */
export class FrameSender {
  readonly hpack = new HpackEncoder(blocks)
  readonly #outbox: Outbox

  constructor(outbox: Outbox) {
    this.#outbox = outbox
  }

  preface(): void {
    this.#outbox.frame(CLIENT_PREFACE.length, (out, at) => out.set(CLIENT_PREFACE, at))
  }

  settings(settings: readonly Setting[]): void {
    const bytes = settingsBytes(settings.length)
    this.#outbox.frame(bytes, (out, at) => writeSettings(out, at, settings))
  }

  settingsAck(): void {
    this.#outbox.frame(SETTINGS_ACK_BYTES, writeSettingsAck)
  }

  ping(high: number, low: number, ack: boolean): void {
    this.#outbox.frame(PING_BYTES, (out, at) => writePing(out, at, high, low, ack))
  }

  windowUpdate(streamId: number, increment: number): void {
    const bytes = WINDOW_UPDATE_BYTES
    this.#outbox.frame(bytes, (out, at) => writeWindowUpdate(out, at, streamId, increment))
  }

  reset(streamId: number, code: number): void {
    this.#outbox.frame(RST_STREAM_BYTES, (out, at) => writeRstStream(out, at, streamId, code))
  }

  goaway(lastStreamId: number, code: number, debug: string): void {
    const bytes = goawayBytes(debug)
    this.#outbox.frame(bytes, (out, at) => writeGoaway(out, at, lastStreamId, code, debug))
  }

  /** `repeats`: the same list will be sent again. Throws `HBONE_HEADER` for what cannot be sent. */
  headers(
    streamId: number,
    fields: readonly HeaderField[],
    options: { readonly endStream: boolean; readonly repeats: boolean },
  ): void {
    const block = options.repeats ? this.hpack.encodeRepeated(fields) : this.hpack.encode(fields)
    const { maxFrameSize } = this.#outbox
    const { endStream } = options
    this.#outbox.frame(headersBytes(block.length, maxFrameSize), (out, at) =>
      writeHeaders(out, at, streamId, block, { endStream, maxFrameSize }),
    )
  }
}
