import { connect, type Socket } from 'node:net'

export interface HttpConnectionOptions {
  readonly host: string
  readonly port: number
  readonly path: string
  readonly onAnswer: () => void
  /** It is closed, with or without a request in flight. Called once. */
  readonly onEnd: () => void
}

/** A kept HTTP/1.1 connection that repeats one GET, one at a time, with as little work of its own as possible. */
export class HttpConnection {
  readonly #socket: Socket
  readonly #request: string
  readonly #onAnswer: () => void
  #head = ''
  /** Of the body that is being read; undefined while the head is. */
  #missing: number | undefined
  #busy = false

  constructor({ host, port, path, onAnswer, onEnd }: HttpConnectionOptions) {
    this.#request = `GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`
    this.#onAnswer = onAnswer
    this.#socket = connect({ host, port, noDelay: true })
    this.#socket.on('data', (bytes) => this.#read(bytes))
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', onEnd)
  }

  /** Whether a request is in flight. */
  get busy(): boolean {
    return this.#busy
  }

  send(): void {
    this.#busy = true
    this.#socket.write(this.#request)
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(bytes: Buffer): void {
    let body = bytes.length
    if (this.#missing === undefined) {
      this.#head += bytes.toString('latin1')
      const end = this.#head.indexOf('\r\n\r\n')
      if (end < 0) return
      const length = /^HTTP\/1\.1 200 [^]*\r\ncontent-length: (\d+)/i.exec(this.#head.slice(0, end))
      if (length === null) return this.close()
      this.#missing = Number(length[1])
      body = this.#head.length - end - 4
      this.#head = ''
    }
    this.#missing -= body
    if (this.#missing < 0) return this.close()
    if (this.#missing > 0) return
    this.#missing = undefined
    this.#busy = false
    this.#onAnswer()
  }
}
