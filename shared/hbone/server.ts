import type { TLSSocket } from 'node:tls'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { describeError } from '../runtime/errors.ts'
import type { Log } from '../runtime/log.ts'
import { Binding } from './binding.ts'
import type { Connection } from './connection.ts'
import { HboneError } from './errors.ts'
import { ErrorCode } from './frame.ts'
import { type MemoryAccount, threadMemory } from './memory-account.ts'
import type { RequestHead } from './message.ts'
import { type HboneSettings, serverLimits } from './settings.ts'
import type { Stream } from './stream.ts'
import { fieldsOf, StreamTunnel } from './stream-tunnel.ts'
import type { ConnectRequest, HboneServerConnection, IncomingTunnel, Tunnel } from './tunnel.ts'

export interface HboneServerOptions {
  readonly log: Log
  readonly clock?: Clock
  readonly settings?: Partial<HboneSettings>
  /** How many tunnels the peer may have open here at once; default 200. */
  readonly maxTunnels?: number
  /** Where the bytes that wait here are counted: the owner's account; by default the thread's. */
  readonly memory?: MemoryAccount
}

/**
 * Serves HBONE over a TLS connection whose handshake is done. Owns `tls` from the call on. `handler` is called once
 * for each request, whatever its method; a handler that throws is answered with 500.
 * Throws `HBONE_CLOSED` if `tls` is closed already.
 */
export function serveHbone(
  tls: TLSSocket,
  handler: (tunnel: IncomingTunnel) => void,
  options: HboneServerOptions,
): HboneServerConnection {
  if (tls.destroyed) throw new HboneError('HBONE_CLOSED', 'the TLS connection is closed')
  return new ServerConnection(tls, handler, options)
}

class ServerConnection implements HboneServerConnection {
  readonly tls: TLSSocket
  readonly #binding: Binding
  readonly #handler: (tunnel: IncomingTunnel) => void
  readonly #log: Log
  #going = false

  constructor(
    tls: TLSSocket,
    handler: (tunnel: IncomingTunnel) => void,
    options: HboneServerOptions,
  ) {
    this.tls = tls
    this.#handler = handler
    this.#log = options.log
    this.#binding = new Binding(tls, {
      role: 'server',
      limits: serverLimits(options.settings, options.maxTunnels),
      memory: options.memory ?? threadMemory,
      clock: options.clock ?? systemClock,
      log: options.log,
      events: {
        ready: () => undefined,
        request: (stream, head) => this.#onRequest(stream, head),
        answer: () => undefined,
        goaway: (code) => this.#onGoaway(code),
        gone: () => this.#closeWhenDone(),
      },
    })
  }

  get closed(): Promise<void> {
    return this.#binding.closed
  }

  get tunnels(): number {
    return this.#binding.connection.streams.size
  }

  drain(): void {
    this.#going = true
    this.#binding.connection.goAway(ErrorCode.NO_ERROR)
    this.#closeWhenDone()
  }

  destroy(cause: Error): void {
    this.#log.debug('closing HBONE connection', { reason: describeError(cause) })
    this.#going = true
    this.#binding.destroy(
      new HboneError('HBONE_CLOSED', 'the HBONE connection was closed', { cause }),
    )
  }

  #onRequest(stream: Stream, head: RequestHead): void {
    const incoming = new Incoming(this.#binding.connection, stream, head)
    try {
      this.#handler(incoming)
    } catch (error) {
      this.#log.error('HBONE request failed', {
        error: describeError(error),
        stack: error instanceof Error ? error.stack : undefined,
      })
      incoming.refuse(500)
    }
  }

  #onGoaway(code: number): void {
    this.#going = true
    if (code === ErrorCode.NO_ERROR) this.#closeWhenDone()
    else this.#binding.finish()
  }

  #closeWhenDone(): void {
    if (this.#going && this.tunnels === 0) this.#binding.finish()
  }
}

class Incoming implements IncomingTunnel {
  readonly method: string
  readonly request: ConnectRequest
  readonly #connection: Connection
  readonly #stream: Stream
  #gone: AbortController | undefined
  #answered = false

  constructor(connection: Connection, stream: Stream, head: RequestHead) {
    this.#connection = connection
    this.#stream = stream
    this.method = head.method
    this.request = { authority: head.authority, headers: head.headers }
    stream.onFailure = this.#onFailure
  }

  get gone(): AbortSignal {
    this.#gone ??= new AbortController()
    if (this.#stream.failure !== undefined && !this.#answered) this.#onFailure()
    return this.#gone.signal
  }

  accept(headers: Readonly<Record<string, string>>): Tunnel {
    if (this.#answered) throw new HboneError('HBONE_PROTOCOL', 'the request is answered already')
    const stream = this.#stream
    if (stream.failure !== undefined) {
      throw new HboneError('HBONE_CLOSED', 'the peer gave up before the answer')
    }
    const fields = fieldsOf([{ name: ':status', value: '200' }], headers)
    this.#connection.respond(stream, fields, false)
    this.#answered = true
    stream.onFailure = undefined
    return new StreamTunnel(stream, headers)
  }

  refuse(status: number): void {
    if (this.#answered) return
    this.#answered = true
    this.#stream.onFailure = undefined
    this.#connection.respond(this.#stream, [{ name: ':status', value: String(status) }], true)
  }

  #onFailure = (): void => {
    this.#gone?.abort(new HboneError('HBONE_RESET', 'the peer gave up before the answer'))
  }
}
