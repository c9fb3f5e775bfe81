import type { Duplex } from 'node:stream'
import type { Channel } from './channel.ts'
import { toDuplex } from './channel-duplex.ts'
import type { HeaderField } from './hpack-static.ts'
import type { Stream } from './stream.ts'
import type { OpenedTunnel } from './tunnel.ts'

/** A stream that carries a tunnel, as its users see it. A Node stream is made only for who asks for one. */
export class StreamTunnel implements OpenedTunnel {
  readonly headers: Readonly<Record<string, string>>
  readonly #stream: Stream
  #duplex: Duplex | undefined
  #closed: Promise<void> | undefined

  /** `headers`: those of the answer. */
  constructor(stream: Stream, headers: Readonly<Record<string, string>>) {
    this.#stream = stream
    this.headers = headers
  }

  get channel(): Channel {
    return this.#stream
  }

  get stream(): Duplex {
    this.#duplex ??= toDuplex(this.#stream)
    return this.#duplex
  }

  get closed(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      if (this.#stream.isOver) resolve()
      else this.#stream.onOver = resolve
    })
    return this.#closed
  }

  cut(cause: Error): void {
    this.#stream.cut(cause)
  }
}

/** Pseudo headers first (RFC 9113 section 8.3). */
export function fieldsOf(
  pseudo: readonly HeaderField[],
  headers: Readonly<Record<string, string>>,
): HeaderField[] {
  const fields = [...pseudo]
  for (const [name, value] of Object.entries(headers)) {
    fields.push({ name: name.toLowerCase(), value })
  }
  return fields
}
