import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../runtime/clock.ts'
import { systemClock } from '../runtime/clock.ts'
import { codeOf, describeError } from '../runtime/errors.ts'
import type { Log } from '../runtime/log.ts'
import { HboneError } from './errors.ts'
import { Keepalive } from './keepalive.ts'
import { plainHeaders } from './plain-headers.ts'
import {
  DEFAULT_HBONE_SETTINGS,
  type HboneSettings,
  http2Settings,
  LINGER_MS,
  SERVER_HEADER_LIST_BYTES,
  SERVER_MAX_TUNNELS,
  SESSION_MEMORY_MB,
} from './settings.ts'
import type { ConnectRequest, HboneServerConnection, IncomingTunnel, Tunnel } from './tunnel.ts'
import { cutAll, TunnelStream } from './tunnel-stream.ts'

export interface HboneServerOptions {
  readonly log: Log
  readonly clock?: Clock
  readonly settings?: Partial<HboneSettings>
  /** How many tunnels the peer may have open here at once; default 200. */
  readonly maxTunnels?: number
}

/**
 * How many tunnels a peer may reset at once, and per second after that, before the connection is ended (the answer
 * to "rapid reset"). Far above node's defaults of 1000 and 33: a peer is a whole node, and its applications may
 * well reset connections as a habit.
 */
const RESET_BURST = 10_000
const RESETS_PER_SECOND = 1_000

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
  readonly closed: Promise<void>
  readonly #session: ServerHttp2Session
  readonly #handler: (tunnel: IncomingTunnel) => void
  readonly #log: Log
  readonly #clock: Clock
  readonly #keepalive: Keepalive
  #linger: Timer | undefined
  readonly #open = new Set<TunnelStream>()
  #destroyed = false

  constructor(
    tls: TLSSocket,
    handler: (tunnel: IncomingTunnel) => void,
    options: HboneServerOptions,
  ) {
    const settings = { ...DEFAULT_HBONE_SETTINGS, ...options.settings }
    const peer = `${tls.remoteAddress ?? 'unknown'}:${tls.remotePort ?? 0}`
    this.tls = tls
    this.#handler = handler
    this.#log = options.log
    this.#clock = options.clock ?? systemClock
    const session = performServerHandshake(tls, {
      maxSessionMemory: SESSION_MEMORY_MB,
      streamResetBurst: RESET_BURST,
      streamResetRate: RESETS_PER_SECOND,
      settings: {
        ...http2Settings(settings, SERVER_HEADER_LIST_BYTES),
        maxConcurrentStreams: options.maxTunnels ?? SERVER_MAX_TUNNELS,
      },
    })
    this.#session = session
    session.setLocalWindowSize(settings.connectionWindowBytes)
    // No frame can come any more; a socket that allows half-open would leave the session waiting for one.
    tls.once('end', () => tls.destroy())
    session.on('error', (error: Error) => {
      const fields = { peer, error: describeError(error) }
      if (GONE.has(codeOf(error) ?? '')) this.#log.debug('HBONE peer is gone', fields)
      else this.#log.warn('HBONE connection failed', fields)
      this.#closeSoon()
    })
    session.on('goaway', () => this.#closeWhenDone())
    session.on('stream', this.#onStream)
    this.#keepalive = new Keepalive(session, this.#clock, () => {
      this.#log.warn('HBONE peer does not answer', { peer })
      this.destroy(new HboneError('HBONE_CLOSED', 'the peer does not answer PING'))
    })
    this.closed = new Promise((resolve) => {
      session.once('close', () => {
        this.#keepalive.stop()
        this.#linger?.cancel()
        resolve()
      })
    })
  }

  get tunnels(): number {
    return this.#open.size
  }

  drain(): void {
    this.#session.close()
    this.#closeWhenDone()
  }

  destroy(cause: Error): void {
    this.#log.debug('closing HBONE connection', { reason: describeError(cause) })
    this.#destroyed = true
    cutAll(this.#session, this.#open, cause)
    this.#closeSoon()
  }

  #onStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number): void => {
    const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0
    const tunnel = new TunnelStream(stream, this.tls, ended)
    if (stream.closed || stream.destroyed || this.#destroyed) {
      tunnel.cut(new HboneError('HBONE_RESET', 'gone before it began'))
      return
    }
    this.#open.add(tunnel)
    stream.once('close', () => {
      this.#open.delete(tunnel)
      this.#closeWhenDone()
    })
    const incoming = new Incoming(stream, tunnel, headers)
    try {
      this.#handler(incoming)
    } catch (error) {
      this.#log.error('HBONE request failed', {
        error: describeError(error),
        stack: error instanceof Error ? error.stack : undefined,
      })
      incoming.refuse(constants.HTTP_STATUS_INTERNAL_SERVER_ERROR)
    }
  }

  #closeWhenDone(): void {
    if (this.#open.size === 0 && (this.#session.closed || this.#session.destroyed))
      this.#closeSoon()
  }

  // node:http2 waits for the peer to take its last frames and to close, however long that lasts.
  #closeSoon(): void {
    this.#linger ??= this.#clock.after(LINGER_MS, () => this.tls.destroy())
  }
}

/** Ends of a connection that are no fault of anybody's HTTP/2. */
const GONE: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT'])

class Incoming implements IncomingTunnel {
  readonly method: string
  readonly request: ConnectRequest
  readonly #stream: ServerHttp2Stream
  readonly #tunnel: TunnelStream
  readonly #gone = new AbortController()
  #answered = false

  constructor(stream: ServerHttp2Stream, tunnel: TunnelStream, headers: IncomingHttpHeaders) {
    this.#stream = stream
    this.#tunnel = tunnel
    this.method = headers[':method'] ?? ''
    this.request = { authority: headers[':authority'] ?? '', headers: plainHeaders(headers) }
    stream.once('close', this.#onClose)
  }

  get gone(): AbortSignal {
    return this.#gone.signal
  }

  accept(headers: Readonly<Record<string, string>>): Tunnel {
    if (this.#answered) throw new HboneError('HBONE_PROTOCOL', 'the request is answered already')
    const stream = this.#stream
    if (stream.closed || stream.destroyed) {
      throw new HboneError('HBONE_CLOSED', 'the peer gave up before the answer')
    }
    this.#answered = true
    stream.off('close', this.#onClose)
    stream.respond({ ...headers, ':status': constants.HTTP_STATUS_OK })
    // A stream that was never read from would be emptied by node:http2 when it closes.
    stream.read(0)
    return this.#tunnel
  }

  refuse(status: number): void {
    const stream = this.#stream
    if (this.#answered) return
    this.#answered = true
    stream.off('close', this.#onClose)
    if (stream.closed || stream.destroyed) return
    this.#tunnel.release()
    stream.respond({ ':status': status }, { endStream: true })
    // RFC 9113 section 8.1: tells the peer to stop sending; the answer goes out before it.
    stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR))
  }

  #onClose = (): void => {
    this.#gone.abort(new HboneError('HBONE_RESET', 'the peer gave up before the answer'))
  }
}
