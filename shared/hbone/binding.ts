import type { TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../runtime/clock.ts'
import { codeOf, describeError } from '../runtime/errors.ts'
import type { Log } from '../runtime/log.ts'
import { Connection } from './connection.ts'
import type { ConnectionEvents, ConnectionLimits } from './connection-options.ts'
import { HboneError } from './errors.ts'
import { ErrorCode, type H2Error } from './frame.ts'
import { Keepalive, type Pingable } from './keepalive.ts'
import type { MemoryAccount } from './memory-account.ts'

/** How long a connection that has nothing left to say may take to close its socket, in milliseconds. */
export const LINGER_MS = 2_000
/** What a peer may take for its preface and SETTINGS, and for one header block, in milliseconds. */
export const SLOW_PEER_MS = 10_000

export interface BindingOptions {
  readonly role: 'client' | 'server'
  readonly limits: ConnectionLimits
  readonly memory: MemoryAccount
  readonly clock: Clock
  readonly log: Log
  readonly events: Pick<ConnectionEvents, 'ready' | 'request' | 'answer' | 'goaway' | 'gone'>
}

/** Ends of a connection that are no fault of anybody's HTTP/2. */
const GONE: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'HBONE_CLOSED'])

/**
 * Joins a `Connection` and a TLS socket whose handshake is done. Owns the socket.
 *
 * The socket has one write at a time, and gets it at the end of a turn of the event loop: what all streams said in
 * that turn goes out in few TLS records and one system call. Reading never waits for writing: if both ends did,
 * both could wait for ever.
 */
export class Binding implements Pingable {
  readonly connection: Connection
  readonly closed: Promise<void>
  readonly #tls: TLSSocket
  readonly #clock: Clock
  readonly #log: Log
  readonly #peer: string
  readonly #events: BindingOptions['events']
  readonly #keepalive: Keepalive
  readonly #resolveClosed: () => void
  #immediate: NodeJS.Immediate | undefined
  #writing = false
  #finishing = false
  #lost = false
  #error: Error | undefined
  #pong: (() => void) | undefined
  #linger: Timer | undefined
  #setup: Timer | undefined
  #slowHeaders: Timer | undefined

  constructor(tls: TLSSocket, options: BindingOptions) {
    const { clock, events } = options
    this.#tls = tls
    this.#clock = clock
    this.#log = options.log
    this.#events = events
    this.#peer = `${tls.remoteAddress ?? 'unknown'}:${tls.remotePort ?? 0}`
    const { promise, resolve } = Promise.withResolvers<void>()
    this.closed = promise
    this.#resolveClosed = resolve
    this.connection = new Connection({
      role: options.role,
      limits: options.limits,
      memory: options.memory,
      now: () => clock.monotonicMs(),
      events: this.#connectionEvents(),
    })
    this.#keepalive = new Keepalive(this, clock, this.#onDead)
    this.#setup = clock.after(SLOW_PEER_MS, () => this.#onSlow('sent no settings in time'))
    tls.on('data', this.#onData)
    // No frame can come any more; a socket that allows half-open would leave the connection waiting for one.
    tls.once('end', () => tls.destroy())
    tls.on('error', this.#onError)
    tls.once('close', this.#onClose)
    this.connection.start()
  }

  /** What ended the connection, if it was not its owner. */
  get error(): Error | undefined {
    return this.#error
  }

  /** No more streams can be opened. */
  get destroyed(): boolean {
    return this.#lost || this.#finishing || this.#tls.destroyed
  }

  ping(onAnswer: () => void): void {
    this.#pong = onAnswer
    this.connection.askAlive()
  }

  /** Sends what is left, closes the socket, and does not wait long for the peer to do so too. */
  finish(): void {
    if (this.#finishing) return
    this.#finishing = true
    this.connection.goAway(ErrorCode.NO_ERROR)
    this.#linger ??= this.#clock.after(LINGER_MS, () => this.#tls.destroy())
    this.#wake()
  }

  /** Cuts all streams and the connection. */
  destroy(error: HboneError): void {
    this.#error ??= error
    this.connection.shutDown(error)
    this.finish()
  }

  #connectionEvents(): ConnectionEvents {
    const events = this.#events
    return {
      wake: () => this.#wake(),
      ready: () => {
        this.#setup?.cancel()
        this.#setup = undefined
        events.ready()
      },
      request: (stream, head) => events.request(stream, head),
      answer: (stream, head) => events.answer(stream, head),
      pong: () => {
        const pong = this.#pong
        this.#pong = undefined
        pong?.()
      },
      goaway: (code) => events.goaway(code),
      gone: (stream) => events.gone(stream),
      failed: (error) => this.#onFailed(error),
      refused: ({ code, message }) => {
        this.#log.warn('HBONE request refused', { peer: this.#peer, error: message, code })
      },
    }
  }

  #wake(): void {
    if (this.#immediate !== undefined || this.#writing || this.#lost) return
    this.#immediate = setImmediate(this.#flush)
  }

  #flush = (): void => {
    this.#immediate = undefined
    if (this.#writing || this.#lost) return
    const bytes = this.connection.outbox.take()
    if (bytes !== undefined) {
      this.#writing = true
      this.#tls.write(bytes, this.#onWritten)
    } else if (this.#finishing) this.#tls.end()
  }

  #onWritten = (error?: Error | null): void => {
    this.#writing = false
    // Then `close` follows, and tells everybody.
    if (this.#lost || (error !== undefined && error !== null)) return
    this.connection.outbox.taken()
    this.#flush()
  }

  #onData = (chunk: Uint8Array): void => {
    this.connection.receive(chunk)
    if (this.connection.inHeaderBlock) {
      this.#slowHeaders ??= this.#clock.after(SLOW_PEER_MS, () =>
        this.#onSlow('sent no end of its headers in time'),
      )
    } else if (this.#slowHeaders !== undefined) {
      this.#slowHeaders.cancel()
      this.#slowHeaders = undefined
    }
  }

  #onFailed({ code, message }: H2Error): void {
    const error = new HboneError('HBONE_PROTOCOL', message)
    this.#error ??= error
    this.#log.warn('HBONE connection failed', { peer: this.#peer, error: message, code })
    this.finish()
  }

  #onDead = (): void => {
    this.#log.warn('HBONE peer does not answer', { peer: this.#peer })
    this.destroy(new HboneError('HBONE_CLOSED', 'the peer does not answer PING'))
  }

  #onSlow(what: string): void {
    this.#log.warn('HBONE peer is too slow', { peer: this.#peer, error: what })
    this.destroy(new HboneError('HBONE_TIMEOUT', `the peer ${what}`))
  }

  #onError = (error: Error): void => {
    this.#error ??= error
    const fields = { peer: this.#peer, error: describeError(error) }
    if (GONE.has(codeOf(error) ?? '')) this.#log.debug('HBONE peer is gone', fields)
    else this.#log.warn('HBONE connection failed', fields)
  }

  #onClose = (): void => {
    this.#lost = true
    this.#keepalive.stop()
    this.#linger?.cancel()
    this.#setup?.cancel()
    this.#slowHeaders?.cancel()
    if (this.#immediate !== undefined) clearImmediate(this.#immediate)
    this.#tls.off('data', this.#onData)
    const cause = this.#error
    this.connection.lost(new HboneError('HBONE_CLOSED', 'the HBONE connection was lost', { cause }))
    this.#resolveClosed()
  }
}
