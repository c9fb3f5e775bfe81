import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../runtime/clock.ts'
import { systemClock } from '../runtime/clock.ts'
import { describeError } from '../runtime/errors.ts'
import type { Log } from '../runtime/log.ts'
import { HboneError } from './errors.ts'
import { Keepalive } from './keepalive.ts'
import { plainHeaders } from './plain-headers.ts'
import {
  CLIENT_HEADER_LIST_BYTES,
  DEFAULT_HBONE_SETTINGS,
  type HboneSettings,
  http2Settings,
  LINGER_MS,
  SESSION_MEMORY_MB,
} from './settings.ts'
import type { ConnectRequest, HboneClientConnection, OpenedTunnel } from './tunnel.ts'
import { cutAll, TunnelStream } from './tunnel-stream.ts'

export interface HboneClientOptions {
  readonly log: Log
  readonly clock?: Clock
  /** How long the peer may take to send its SETTINGS, in milliseconds. */
  readonly handshakeTimeoutMs: number
  /** Gives up the handshake; later aborts do nothing. */
  readonly signal?: AbortSignal
  readonly settings?: Partial<HboneSettings>
}

/**
 * Speaks HBONE over a TLS connection whose handshake is done and whose peer is verified. Owns `tls` from the call
 * on: whenever this rejects, it is destroyed. Rejects with `HBONE_PROTOCOL`, `HBONE_CLOSED` or `HBONE_TIMEOUT`.
 */
export async function connectHbone(
  tls: TLSSocket,
  options: HboneClientOptions,
): Promise<HboneClientConnection> {
  try {
    if (tls.destroyed) throw new HboneError('HBONE_CLOSED', 'the TLS connection is closed')
    if (tls.alpnProtocol !== 'h2') {
      const got = tls.alpnProtocol === false ? 'nothing' : tls.alpnProtocol
      throw new HboneError('HBONE_PROTOCOL', `the peer negotiated ${got} by ALPN, not h2`)
    }
    const connection = new ClientConnection(tls, options)
    await connection.ready(options)
    return connection
  } catch (error) {
    tls.on('error', () => undefined)
    tls.destroy()
    throw error
  }
}

type Answer = IncomingHttpHeaders & IncomingHttpStatusHeader

class ClientConnection implements HboneClientConnection {
  readonly tls: TLSSocket
  readonly closed: Promise<void>
  readonly #session: ClientHttp2Session
  readonly #keepalive: Keepalive
  readonly #clock: Clock
  #linger: Timer | undefined
  readonly #open = new Set<TunnelStream>()
  #going = false
  #error: Error | undefined

  constructor(tls: TLSSocket, options: HboneClientOptions) {
    const settings = { ...DEFAULT_HBONE_SETTINGS, ...options.settings }
    this.tls = tls
    this.#clock = options.clock ?? systemClock
    const session = connect('https://hbone.invalid', {
      createConnection: () => tls,
      maxSessionMemory: SESSION_MEMORY_MB,
      settings: { ...http2Settings(settings, CLIENT_HEADER_LIST_BYTES), enablePush: false },
    })
    this.#session = session
    session.setLocalWindowSize(settings.connectionWindowBytes)
    // No frame can come any more; a socket that allows half-open would leave the session waiting for one.
    tls.once('end', () => tls.destroy())
    session.on('error', (error: Error) => {
      this.#error ??= error
      options.log.debug('HBONE connection failed', { error: describeError(error) })
    })
    session.on('goaway', () => {
      this.#going = true
      this.#closeWhenDone()
    })
    this.#keepalive = new Keepalive(session, this.#clock, () => {
      options.log.warn('HBONE peer does not answer', { peer: tls.remoteAddress })
      this.destroy(new HboneError('HBONE_CLOSED', 'the peer does not answer PING'))
    })
    this.closed = new Promise((resolve) => {
      session.once('close', () => {
        this.#going = true
        this.#keepalive.stop()
        this.#linger?.cancel()
        resolve()
      })
    })
  }

  /** Settles when the peer's SETTINGS have come. */
  async ready(options: HboneClientOptions): Promise<void> {
    const { signal } = options
    const session = this.#session
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: HboneError): void => {
        timer.cancel()
        signal?.removeEventListener('abort', onAbort)
        session.off('remoteSettings', onSettings)
        session.off('close', onClose)
        if (error === undefined) {
          resolve()
          return
        }
        this.destroy(error)
        reject(error)
      }
      const late = (cause?: unknown): HboneError =>
        new HboneError('HBONE_TIMEOUT', 'the peer sent no HTTP/2 settings in time', { cause })
      const onSettings = (): void => settle()
      const onClose = (): void => {
        const cause = this.#error
        settle(new HboneError('HBONE_CLOSED', 'the peer closed before its settings', { cause }))
      }
      const onAbort = (): void => settle(late(signal?.reason))
      const timer = this.#clock.after(options.handshakeTimeoutMs, () => settle(late()))
      session.once('remoteSettings', onSettings)
      session.once('close', onClose)
      signal?.addEventListener('abort', onAbort)
      if (signal?.aborted === true) onAbort()
    })
  }

  get tunnels(): number {
    return this.#open.size
  }

  get maxTunnels(): number {
    if (this.#session.destroyed) return 0
    return this.#session.remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY
  }

  get usable(): boolean {
    return !this.#going && !this.#session.closed && !this.#session.destroyed && !this.tls.destroyed
  }

  async open(request: ConnectRequest, signal: AbortSignal): Promise<OpenedTunnel> {
    if (signal.aborted) throw gaveUp(signal)
    if (!this.usable) {
      const cause = this.#error
      throw new HboneError('HBONE_CLOSED', 'the HBONE connection is closing', { cause })
    }
    if (this.#open.size >= this.maxTunnels) {
      throw new HboneError('HBONE_REFUSED_STREAM', 'the peer allows no more tunnels here')
    }
    const stream = this.#session.request({
      ...request.headers,
      ':method': 'CONNECT',
      ':authority': request.authority,
    })
    const tunnel = new TunnelStream(stream, this.tls, false)
    this.#open.add(tunnel)
    stream.once('close', () => {
      this.#open.delete(tunnel)
      this.#closeWhenDone()
    })
    const headers = await new Promise<Answer>((resolve, reject) => {
      const settle = (error?: Error, answer: Answer = {}): void => {
        signal.removeEventListener('abort', onAbort)
        stream.off('response', onResponse)
        stream.off('error', settle)
        stream.off('close', onClose)
        if (error === undefined) resolve(answer)
        else reject(error)
      }
      const onResponse = (answer: Answer): void => settle(undefined, answer)
      const onClose = (): void => settle(new HboneError('HBONE_CLOSED', 'closed before the answer'))
      const onAbort = (): void => {
        const error = gaveUp(signal)
        settle(error)
        tunnel.reset(constants.NGHTTP2_CANCEL, error)
      }
      stream.once('response', onResponse)
      stream.once('error', settle)
      stream.once('close', onClose)
      signal.addEventListener('abort', onAbort)
    })
    const status = headers[':status']
    if (status !== 200) {
      const error = new HboneError(
        'HBONE_STATUS',
        `http status: ${status}`,
        status === undefined ? {} : { status },
      )
      tunnel.reset(constants.NGHTTP2_CANCEL, error)
      throw error
    }
    return new ClientTunnel(tunnel, plainHeaders(headers))
  }

  drain(): void {
    this.#going = true
    this.#session.close()
    this.#closeWhenDone()
  }

  destroy(cause: Error): void {
    this.#going = true
    this.#error ??= cause
    cutAll(this.#session, this.#open, cause)
    this.#closeSoon()
  }

  #closeWhenDone(): void {
    if (this.#going && this.#open.size === 0) this.#closeSoon()
  }

  // node:http2 waits for the peer to take its last frames and to close, however long that lasts.
  #closeSoon(): void {
    this.#linger ??= this.#clock.after(LINGER_MS, () => this.tls.destroy())
  }
}

class ClientTunnel implements OpenedTunnel {
  readonly stream: TunnelStream['stream']
  readonly headers: Readonly<Record<string, string>>
  readonly #tunnel: TunnelStream

  constructor(tunnel: TunnelStream, headers: Readonly<Record<string, string>>) {
    this.#tunnel = tunnel
    this.stream = tunnel.stream
    this.headers = headers
  }

  cut(cause: Error): void {
    this.#tunnel.cut(cause)
  }
}

function gaveUp(signal: AbortSignal): HboneError {
  return new HboneError('HBONE_TIMEOUT', 'gave up before the answer to CONNECT', {
    cause: signal.reason,
  })
}
