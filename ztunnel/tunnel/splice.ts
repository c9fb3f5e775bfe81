import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { fdOf, setResetOnClose } from '../../shared/linux/sockets.ts'

/** One side of a spliced connection. `stream` half-closes; `cut` ends it so that its peer sees a failure. */
export interface Leg {
  readonly stream: Duplex
  /** Destroys `stream`; idempotent. */
  cut(cause: Error): void
}

export interface SpliceOptions {
  /** Called with the size of each chunk that came from the left, when it came. */
  readonly onLeftBytes: (bytes: number) => void
  readonly onRightBytes: (bytes: number) => void
  /** Cuts both sides. */
  readonly signal?: AbortSignal
}

/** `side` is where the failure was met; the other side was then cut as well. */
export type SpliceEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'cut'; readonly side: 'left' | 'right' | 'signal'; readonly error: Error }

/**
 * Moves bytes between two legs until both directions have ended, however long one or both are silent: there are no
 * timers here. The directions are independent, so a half-close passes through. Anything else than two clean ends
 * cuts both legs, so that a broken transfer never looks complete.
 *
 * Settles, and never rejects, when both streams are closed and nothing of the splice is attached to them. Owns both
 * legs from the call on.
 *
 * Invariants of the byte path: handlers are made once; a chunk is handed over as it is, in the tick it came; while
 * `write` says no, the source is paused, so at most one chunk above the target's high water mark waits here.
 */
export async function splice(left: Leg, right: Leg, options: SpliceOptions): Promise<SpliceEnd> {
  return await new Promise((resolve) => new Splice(left, right, options, resolve).start())
}

/**
 * A TCP socket as a leg; made with `allowHalfOpen: true`. Its cut is a TCP reset, and so is everything else that
 * closes it before it was ended, the death of this process included.
 */
export function socketLeg(socket: Socket): Leg {
  if (!socket.destroyed) {
    setResetOnClose(fdOf(socket), true)
    // By now the kernel has the last byte and the end.
    socket.once('finish', () => {
      if (!socket.destroyed) setResetOnClose(fdOf(socket), false)
    })
  }
  return { stream: socket, cut: () => reset(socket) }
}

function reset(socket: Socket): void {
  if (socket.destroyed) return
  // While the kernel call that sends FIN is under way, a reset fails and the descriptor would be lost.
  const finishing = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0
  if (finishing) {
    socket.once('finish', () => reset(socket))
    socket.once('error', ignore)
    return
  }
  socket.resetAndDestroy()
}

class Splice {
  readonly #left: Leg
  readonly #right: Leg
  readonly #resolve: (end: SpliceEnd) => void
  readonly #signal: AbortSignal | undefined
  readonly #detach: (() => void)[] = []
  #end: SpliceEnd | undefined
  #open = 2

  constructor(left: Leg, right: Leg, options: SpliceOptions, resolve: (end: SpliceEnd) => void) {
    this.#left = left
    this.#right = right
    this.#signal = options.signal
    this.#resolve = resolve
    this.#watch('left', left.stream)
    this.#watch('right', right.stream)
    this.#detach.push(
      pump(left.stream, right.stream, options.onLeftBytes),
      pump(right.stream, left.stream, options.onRightBytes),
    )
  }

  start(): void {
    for (const [side, { stream }] of [
      ['left', this.#left],
      ['right', this.#right],
    ] as const) {
      if (stream.destroyed) this.#fail(side, stream.errored ?? closedEarly(side))
    }
    this.#signal?.addEventListener('abort', this.#onAbort)
    if (this.#signal?.aborted === true) this.#onAbort()
  }

  #watch(side: 'left' | 'right', stream: Duplex): void {
    const onError = (error: Error): void => this.#fail(side, error)
    const onClose = (): void => {
      if (!stream.readableEnded || !stream.writableFinished) this.#fail(side, closedEarly(side))
      this.#open--
      if (this.#open === 0) this.#settle()
    }
    stream.on('error', onError)
    if (stream.closed) queueMicrotask(onClose)
    else stream.once('close', onClose)
    this.#detach.push(() => stream.off('error', onError))
  }

  #onAbort = (): void => {
    const reason: unknown = this.#signal?.reason
    this.#fail('signal', reason instanceof Error ? reason : new Error('aborted', { cause: reason }))
  }

  #fail(side: 'left' | 'right' | 'signal', error: Error): void {
    if (this.#end !== undefined || this.#ended) return
    this.#end = { kind: 'cut', side, error }
    this.#left.cut(error)
    this.#right.cut(error)
  }

  /** All bytes of both directions have been taken; what a socket says while it closes does not matter any more. */
  get #ended(): boolean {
    return ended(this.#left.stream) && ended(this.#right.stream)
  }

  #settle(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    for (const detach of this.#detach) detach()
    this.#resolve(this.#end ?? { kind: 'complete' })
  }
}

/** Moves one direction; returns what takes its listeners away. */
function pump(from: Duplex, to: Duplex, count: (bytes: number) => void): () => void {
  const onData = (chunk: Buffer): void => {
    count(chunk.length)
    if (!to.write(chunk)) from.pause()
  }
  const onDrain = (): void => {
    from.resume()
  }
  const onEnd = (): void => {
    to.end()
  }
  from.on('data', onData)
  to.on('drain', onDrain)
  if (from.readableEnded) to.end()
  else from.once('end', onEnd)
  from.resume()
  return () => {
    from.off('data', onData)
    to.off('drain', onDrain)
    from.off('end', onEnd)
  }
}

function ended(stream: Duplex): boolean {
  return stream.readableEnded && stream.writableFinished
}

function closedEarly(side: 'left' | 'right'): Error {
  return new Error(`the ${side} side closed before its end`)
}

function ignore(): void {}
