import type { TLSSocket } from 'node:tls'
import { type Clock, systemClock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { Binding } from './binding.ts'
import { HboneError } from './errors.ts'
import { ErrorCode } from './frame.ts'
import { type MemoryAccount, threadMemory } from './memory-account.ts'
import type { ResponseHead } from './message.ts'
import { clientLimits, type HboneSettings } from './settings.ts'
import type { Stream } from './stream.ts'
import { fieldsOf, StreamTunnel } from './stream-tunnel.ts'
import type { ConnectRequest, HboneClientConnection, OpenedTunnel } from './tunnel.ts'

export interface HboneClientOptions {
  readonly log: Log
  readonly clock?: Clock
  /** How long the peer may take to send its SETTINGS, in milliseconds. */
  readonly handshakeTimeoutMs: number
  /** Gives up the handshake; later aborts do nothing. */
  readonly signal?: AbortSignal
  readonly settings?: Partial<HboneSettings>
  /** Where the bytes that wait here are counted: the owner's account; by default the thread's. */
  readonly memory?: MemoryAccount
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

class ClientConnection implements HboneClientConnection {
  readonly tls: TLSSocket
  readonly #binding: Binding
  readonly #clock: Clock
  readonly #answers = new Map<Stream, (head: ResponseHead) => void>()
  #onReady: (() => void) | undefined
  #going = false

  constructor(tls: TLSSocket, options: HboneClientOptions) {
    this.tls = tls
    this.#clock = options.clock ?? systemClock
    this.#binding = new Binding(tls, {
      role: 'client',
      limits: clientLimits(options.settings),
      memory: options.memory ?? threadMemory,
      clock: this.#clock,
      log: options.log,
      events: {
        ready: () => this.#onReady?.(),
        request: () => undefined,
        answer: (stream, head) => this.#answers.get(stream)?.(head),
        goaway: (code) => this.#onGoaway(code),
        gone: () => this.#closeWhenDone(),
      },
    })
  }

  get closed(): Promise<void> {
    return this.#binding.closed
  }

  /** Settles when the peer's SETTINGS have come. */
  async ready(options: HboneClientOptions): Promise<void> {
    const { signal } = options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const late = (cause?: unknown): HboneError =>
      new HboneError('HBONE_TIMEOUT', 'the peer sent no HTTP/2 settings in time', { cause })
    const onAbort = (): void => reject(late(signal?.reason))
    const timer = this.#clock.after(options.handshakeTimeoutMs, () => reject(late()))
    this.#onReady = resolve
    void this.#binding.closed.then(() => {
      const cause = this.#binding.error
      reject(new HboneError('HBONE_CLOSED', 'the peer closed before its settings', { cause }))
    })
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted === true) onAbort()
    try {
      await promise
    } finally {
      timer.cancel()
      signal?.removeEventListener('abort', onAbort)
      this.#onReady = undefined
    }
  }

  get tunnels(): number {
    return this.#binding.connection.streams.size
  }

  get maxTunnels(): number {
    return this.#binding.destroyed ? 0 : this.#binding.connection.peerMaxStreams
  }

  get usable(): boolean {
    return !this.#going && !this.#binding.destroyed
  }

  async open(request: ConnectRequest, signal: AbortSignal): Promise<OpenedTunnel> {
    if (signal.aborted) throw gaveUp(signal)
    if (!this.usable) {
      const cause = this.#binding.error
      throw new HboneError('HBONE_CLOSED', 'the HBONE connection is closing', { cause })
    }
    if (this.tunnels >= this.maxTunnels) {
      throw new HboneError('HBONE_REFUSED_STREAM', 'the peer allows no more tunnels here')
    }
    const pseudo = [
      { name: ':method', value: 'CONNECT' },
      { name: ':authority', value: request.authority },
    ]
    const stream = this.#binding.connection.open(fieldsOf(pseudo, request.headers))
    if (stream === undefined) {
      this.drain()
      throw new HboneError('HBONE_REFUSED_STREAM', 'no stream ids are left')
    }
    const { status, headers } = await this.#answerOf(stream, signal)
    if (status !== 200) {
      const error = new HboneError('HBONE_STATUS', `http status: ${status}`, { status })
      stream.reset(ErrorCode.CANCEL, error)
      throw error
    }
    return new StreamTunnel(stream, headers)
  }

  drain(): void {
    this.#going = true
    this.#closeWhenDone()
  }

  destroy(cause: Error): void {
    this.#going = true
    this.#binding.destroy(
      new HboneError('HBONE_CLOSED', 'the HBONE connection was closed', { cause }),
    )
  }

  async #answerOf(stream: Stream, signal: AbortSignal): Promise<ResponseHead> {
    const { promise, resolve, reject } = Promise.withResolvers<ResponseHead>()
    const onAbort = (): void => stream.reset(ErrorCode.CANCEL, gaveUp(signal))
    signal.addEventListener('abort', onAbort)
    this.#answers.set(stream, resolve)
    stream.onFailure = reject
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#answers.delete(stream)
      stream.onFailure = undefined
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

function gaveUp(signal: AbortSignal): HboneError {
  return new HboneError('HBONE_TIMEOUT', 'gave up before the answer to CONNECT', {
    cause: signal.reason,
  })
}
