import { type ClientDuplexStream, connectivityState, status } from '@grpc/grpc-js'
import { Backoff } from '../runtime/backoff.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import { describeError } from '../runtime/errors.ts'
import type { Component } from '../runtime/lifecycle.ts'
import type { Log } from '../runtime/log.ts'
import { type ControlChannel, type ControlEndpoint, openControlChannel } from './control-channel.ts'

/** How a stream ended (ztunnel spec 10.2). */
export type StreamEnd = 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete'

/** A bidirectional method of a generated service definition. */
export interface StreamMethod<Out, In> {
  readonly path: string
  readonly requestSerialize: (value: Out) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => In
}

export interface KeptStreamOptions<Out, In> {
  readonly name: string
  readonly endpoint: ControlEndpoint
  readonly method: StreamMethod<Out, In>
  readonly clock: Clock
  readonly log: Log
  /** A new stream begins; what is sent now goes first. */
  opened(send: (message: Out) => void): void
  /** In order. What it throws ends the stream, and a new one is tried. */
  received(message: In, bytes: number): void
  /** The stream is over, whatever the reason; `opened` follows when there is a new one. */
  ended?(end: StreamEnd): void
}

interface Received<In> {
  readonly message: In
  readonly bytes: number
}

const CONNECT_MS = 5_000
/** The first message of a stream; keepalive does not notice a server that takes the call and says nothing. */
const FIRST_MESSAGE_MS = 30_000
/** A stream that lived as long was a success. */
const STABLE_MS = 5_000
/** Ends that say nothing against the server (ztunnel spec, section 8). */
const HARMLESS: ReadonlySet<status> = new Set([
  status.UNKNOWN,
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
])

/**
 * Keeps one stream to the control plane open, for as long as the process lives: connects anew whenever it ends, after
 * 10 ms doubling to 15 s.
 */
export class KeptStream<Out, In> implements Component {
  readonly name: string
  readonly #options: KeptStreamOptions<Out, In>
  readonly #backoff = new Backoff({ firstMs: 10, maxMs: 15_000 })
  readonly #log: Log
  #channel: ControlChannel | undefined
  #call: ClientDuplexStream<Out, Received<In>> | undefined
  #timers: Timer[] = []
  #retry: Timer | undefined
  #lastFailure = ''
  #closed = false

  constructor(options: KeptStreamOptions<Out, In>) {
    this.name = options.name
    this.#options = options
    this.#log = options.log
  }

  /** Begins to connect; does not wait for it. */
  async start(): Promise<void> {
    void this.#connect()
    await Promise.resolve()
  }

  async drain(): Promise<void> {
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#retry?.cancel()
    this.#release()
    await Promise.resolve()
  }

  get connected(): boolean {
    return this.#call !== undefined
  }

  /** Ends the stream as broken; a new one follows. */
  abandon(reason: string): void {
    const call = this.#call
    if (call === undefined) return
    this.#finish(call, 'Error', reason)
  }

  async #connect(): Promise<void> {
    const { endpoint, clock } = this.#options
    let channel: ControlChannel
    try {
      channel = await openControlChannel(endpoint)
    } catch (error) {
      this.#again('ConnectionError', describeError(error))
      return
    }
    if (this.#closed) {
      channel.client.close()
      return
    }
    this.#channel = channel
    const call = this.#open(channel)
    this.#call = call
    const since = clock.monotonicMs()
    this.#timers = [
      clock.after(CONNECT_MS, () => {
        if (channel.client.getChannel().getConnectivityState(false) === connectivityState.READY)
          return
        this.#finish(call, 'ConnectionError', `not connected within ${CONNECT_MS / 1000} s`)
      }),
      clock.after(FIRST_MESSAGE_MS, () =>
        this.#finish(call, 'Error', 'the server does not answer'),
      ),
    ]
    let answered = false
    call.on('data', ({ message, bytes }: Received<In>) => {
      if (this.#call !== call) return
      if (!answered) this.#answered()
      answered = true
      this.#take(call, message, bytes)
    })
    call.on('end', () => undefined)
    call.on('error', () => undefined)
    call.on('status', ({ code, details }) => {
      if (clock.monotonicMs() - since >= STABLE_MS && answered) this.#backoff.reset()
      const text = details === '' ? (status[code] ?? `code ${code}`) : `${status[code]}: ${details}`
      this.#finish(call, endOf(code, details, answered), text)
    })
    this.#options.opened((message) => {
      if (this.#call === call) call.write(message)
    })
  }

  #open({ client, metadata }: ControlChannel): ClientDuplexStream<Out, Received<In>> {
    const { path, requestSerialize, responseDeserialize } = this.#options.method
    return client.makeBidiStreamRequest(
      path,
      requestSerialize,
      (bytes: Buffer): Received<In> => ({
        message: responseDeserialize(bytes),
        bytes: bytes.length,
      }),
      metadata,
      {},
    )
  }

  #answered(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers = []
    if (this.#lastFailure !== '')
      this.#log.info('connected again', { address: this.#options.endpoint.address })
    this.#lastFailure = ''
  }

  #take(call: ClientDuplexStream<Out, Received<In>>, message: In, bytes: number): void {
    try {
      this.#options.received(message, bytes)
    } catch (error) {
      this.#finish(call, 'Error', describeError(error))
    }
  }

  #finish(call: ClientDuplexStream<Out, Received<In>>, end: StreamEnd, reason: string): void {
    if (this.#call !== call) return
    this.#release()
    this.#again(end, reason)
  }

  #release(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers = []
    const call = this.#call
    this.#call = undefined
    call?.cancel()
    this.#channel?.client.close()
    this.#channel = undefined
  }

  #again(end: StreamEnd, reason: string): void {
    if (this.#closed) return
    this.#options.ended?.(end)
    const waitMs = this.#backoff.nextMs()
    const fields = {
      address: this.#options.endpoint.address,
      end,
      reason,
      retry_ms: Math.round(waitMs),
    }
    if (reason === this.#lastFailure) this.#log.debug('not connected', fields)
    else this.#log.warn('not connected', fields)
    this.#lastFailure = reason
    this.#retry = this.#options.clock.after(waitMs, () => void this.#connect())
  }
}

function endOf(code: status, details: string, answered: boolean): StreamEnd {
  if (code === status.OK) return 'Complete'
  if (!answered && code === status.UNAVAILABLE) return 'ConnectionError'
  if (!answered) return 'Error'
  const gone = /transport is closing|received prior goaway|goaway/i.test(details)
  return gone || HARMLESS.has(code) ? 'Reconnect' : 'Error'
}
