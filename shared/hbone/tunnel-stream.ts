import { constants, type Http2Session, type Http2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { HboneError } from './errors.ts'
import type { Tunnel } from './tunnel.ts'

/**
 * Makes an `Http2Stream` keep the promises of `Tunnel`, in place, so that no layer of our own handles each chunk.
 *
 * Left alone, node:http2 shows a reset or a lost connection as a normal `end` (it pushes the same `null` for both),
 * and its own `close` and `destroy` send END_STREAM or RST_STREAM(NO_ERROR), which a peer takes for a normal end.
 * Invariants here:
 * - `null` counts as END_STREAM only while the stream is not closed: a reset closes it first, END_STREAM does not;
 * - the stream is destroyed without an error only if END_STREAM was seen and ours was sent;
 * - a stream that is complete in this sense, but not yet read to its end, outlives its session;
 * - every other destruction sends RST_STREAM(CONNECT_ERROR, RFC 9113 section 8.5), and no END_STREAM before it.
 */
export class TunnelStream implements Tunnel {
  readonly stream: Http2Stream
  readonly #tls: TLSSocket
  readonly #push: Http2Stream['push']
  readonly #destroy: Http2Stream['destroy']
  readonly #close: Http2Stream['close']
  #endSeen: boolean
  #endSent = false
  #resetting = false
  #refused = false

  /** `endSeen`: END_STREAM came with the headers. */
  constructor(stream: Http2Stream, tls: TLSSocket, endSeen: boolean) {
    this.stream = stream
    this.#tls = tls
    this.#endSeen = endSeen
    this.#push = stream.push.bind(stream)
    this.#destroy = stream.destroy.bind(stream)
    this.#close = stream.close.bind(stream)
    stream.push = this.#guardedPush
    stream.destroy = this.#guardedDestroy
    // Errors reach whoever listens; that nobody does (yet, or any more) must not end the process.
    stream.on('error', ignore)
    stream.on('aborted', this.#onAborted)
  }

  cut(cause: Error): void {
    this.reset(constants.NGHTTP2_CONNECT_ERROR, this.#failure(cause))
  }

  /** Sends RST_STREAM with `code` and destroys the stream with `error`; after a clean end only forgets it. */
  reset(code: number, error: HboneError): void {
    const { stream } = this
    if (stream.destroyed) return
    if (this.#complete && !this.#settled) {
      // END_STREAM went both ways, but ours may still be queued, and a destruction would turn it into a reset.
      // The stream goes by itself once what nobody reads any more is out of its way.
      stream.resume()
      return
    }
    if (!stream.closed) {
      this.#resetting = true
      // node:http2 calls `end` before it sends RST_STREAM, and END_STREAM would make the cut look clean.
      stream.end = () => stream
      this.#close(code)
    }
    this.#destroy(error)
  }

  /** From here on the stream carries an answer that is not a tunnel, and may end in any way. */
  release(): void {
    this.#refused = true
  }

  /** END_STREAM was seen and ours was sent. */
  get #complete(): boolean {
    return this.#endSeen && this.stream.writableFinished && !this.stream.aborted
  }

  /** No frame of this stream will come or go any more. */
  get #settled(): boolean {
    return this.stream.closed || this.#connectionLost
  }

  get #connectionLost(): boolean {
    return this.#tls.destroyed || (this.stream.session?.destroyed ?? true)
  }

  #guardedPush = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    const { stream } = this
    if (chunk !== null) return this.#push(chunk, encoding)
    if (!this.#endSeen) {
      if (stream.destroyed) return false
      if (stream.closed) {
        // Not in this call: node:http2 still works with the session of a stream that it has just closed.
        process.nextTick(() => this.#guardedDestroy())
        return false
      }
      this.#endSeen = true
    }
    return this.#push(null)
  }

  #guardedDestroy = (cause?: Error): Http2Stream => {
    const { stream } = this
    if (stream.destroyed) return stream
    if (this.#refused) return this.#destroy()
    if (this.#complete && this.#settled) {
      // What has arrived whole stays readable, also when the connection is gone by now.
      if (stream.readableEnded) return this.#destroy()
      stream.once('end', () => this.#guardedDestroy())
    } else if (this.#flushing) {
      stream.once('finish', () => this.#guardedDestroy())
    } else {
      this.reset(constants.NGHTTP2_CONNECT_ERROR, this.#failure(cause))
    }
    return stream
  }

  /** Both END_STREAM are through nghttp2, but the last bytes are still on their way into the socket. */
  get #flushing(): boolean {
    const { stream } = this
    if (!this.#endSeen || stream.aborted || this.#connectionLost) return false
    this.#endSent ||= stream.state.localClose === 1
    return this.#endSent && stream.writableEnded && !stream.writableFinished
  }

  // The peer reset us, or vanished, while we could still write. That END_STREAM came earlier does not help: our
  // own bytes no longer reach the peer.
  #onAborted = (): void => {
    if (!this.#resetting) this.#guardedDestroy()
  }

  #failure(cause: Error | undefined): HboneError {
    if (cause instanceof HboneError) return cause
    const { stream } = this
    if (this.#connectionLost) {
      return new HboneError('HBONE_CLOSED', 'the HBONE connection was lost', { cause })
    }
    if (!stream.closed) return new HboneError('HBONE_RESET', 'the tunnel was cut', { cause })
    const code = stream.rstCode
    if (code === constants.NGHTTP2_REFUSED_STREAM) {
      return new HboneError('HBONE_REFUSED_STREAM', 'the peer refused the tunnel', { cause })
    }
    return new HboneError('HBONE_RESET', `the peer reset the tunnel (${resetName(code)})`, {
      cause,
    })
  }
}

/** Cuts every tunnel of a session, then destroys it: on its own that sends GOAWAY(NO_ERROR), and no reset. */
export function cutAll(session: Http2Session, tunnels: Iterable<TunnelStream>, cause: Error): void {
  const error = new HboneError('HBONE_CLOSED', 'the HBONE connection was closed', { cause })
  for (const tunnel of tunnels) tunnel.cut(error)
  // The frames are written in an immediate of node's own, which runs first.
  setImmediate(() => session.destroy())
}

const RESET_NAMES = new Map<number, string>([
  [constants.NGHTTP2_NO_ERROR, 'NO_ERROR'],
  [constants.NGHTTP2_PROTOCOL_ERROR, 'PROTOCOL_ERROR'],
  [constants.NGHTTP2_INTERNAL_ERROR, 'INTERNAL_ERROR'],
  [constants.NGHTTP2_FLOW_CONTROL_ERROR, 'FLOW_CONTROL_ERROR'],
  [constants.NGHTTP2_STREAM_CLOSED, 'STREAM_CLOSED'],
  [constants.NGHTTP2_CANCEL, 'CANCEL'],
  [constants.NGHTTP2_CONNECT_ERROR, 'CONNECT_ERROR'],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, 'ENHANCE_YOUR_CALM'],
])

function resetName(code: number | undefined): string {
  return code === undefined ? 'no code' : (RESET_NAMES.get(code) ?? `code ${code}`)
}

function ignore(): void {}
