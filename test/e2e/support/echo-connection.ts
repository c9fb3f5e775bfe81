import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Socket } from 'node:net'
import type { Place } from '../../../shared/lab/place.ts'
import { tcpSocket } from '../../../shared/linux/sockets.ts'
import { codeOf } from '../../../shared/runtime/errors.ts'

const TIMEOUT_MS = 30_000

/** A connection that stays: to a `tcp-app` that sends everything back. */
export class EchoConnection implements Disposable {
  /** How it ended: the code of its error, or `closed`; pending while it is open. */
  readonly ended: Promise<string>
  readonly #socket: Socket
  #end: string | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    let failure: string | undefined
    socket.on('error', (error) => {
      failure = codeOf(error) ?? error.message
    })
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        this.#end = failure ?? 'closed'
        resolve(this.#end)
      })
    })
  }

  /** Rejects if it cannot be opened, or gives no echo. */
  static async open(from: Place, host: string, port: number): Promise<EchoConnection> {
    const fd = from.namespace.run(() => tcpSocket({ family: host.includes(':') ? 6 : 4 }))
    const socket = new Socket({ fd })
    const echo = new EchoConnection(socket)
    socket.connect({ host, port })
    await once(socket, 'connect', { signal: AbortSignal.timeout(TIMEOUT_MS) })
    socket.write('echo\n')
    await echo.ping()
    return echo
  }

  /** How it ended; undefined while it is open. */
  get end(): string | undefined {
    return this.#end
  }

  /** Sends random bytes and wants them back. */
  async ping(): Promise<void> {
    const sent = randomBytes(64)
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    this.#socket.write(sent)
    let seen = Buffer.alloc(0)
    while (seen.length < sent.length) {
      if (this.#end !== undefined) throw new Error(`the connection has ended: ${this.#end}`)
      const chunk: unknown = this.#socket.read()
      if (Buffer.isBuffer(chunk)) seen = Buffer.concat([seen, chunk])
      else await Promise.race([once(this.#socket, 'readable', { signal }), this.ended])
    }
    if (!seen.equals(sent)) throw new Error('the echo differs')
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}
