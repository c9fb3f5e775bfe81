import type { FrameSender } from './frame-sender.ts'
import type { Stream } from './stream.ts'

/** The first half of the opaque bytes of a PING that measures. */
export const PING_PROBE = 0x62647021

/** Measures what arrives during one round trip, for one stream of a connection at a time. */
export class Probe {
  readonly #sender: FrameSender
  #stream: Stream | undefined
  #serial = 0

  constructor(sender: FrameSender) {
    this.#sender = sender
  }

  begin(stream: Stream): void {
    if (this.#stream !== undefined) return
    this.#stream = stream
    stream.window.beginProbe()
    this.#serial = (this.#serial + 1) >>> 0
    this.#sender.ping(PING_PROBE, this.#serial, false)
  }

  /** The answer; `serial` is the second half of its opaque bytes. */
  end(serial: number): void {
    const stream = this.#stream
    if (stream === undefined || serial !== this.#serial) return
    this.#stream = undefined
    if (stream.isOver) return
    stream.window.endProbe()
    stream.refill()
  }
}
