import type { Channel, ChannelSink } from '../../shared/hbone/channel.ts'

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
 * Moves bytes between two channels until both directions have ended, however long one or both are silent: there are
 * no timers here. The directions are independent, so a half-close passes through. Anything else than two clean ends
 * cuts both, so that a broken transfer never looks complete. Owns both channels from the call on; never rejects.
 *
 * Nothing is made for a chunk: it goes from one `data` to the other's `write`, and what cannot go on waits there.
 */
export async function splice(
  left: Channel,
  right: Channel,
  options: SpliceOptions,
): Promise<SpliceEnd> {
  return await new Promise((resolve) => new Splice(left, right, options, resolve).start())
}

class Splice {
  readonly #left: Channel
  readonly #right: Channel
  readonly #options: SpliceOptions
  readonly #resolve: (end: SpliceEnd) => void
  #end: SpliceEnd | undefined
  /** Ends that are not told yet: two of each side. */
  #open = 4
  #over = false

  constructor(
    left: Channel,
    right: Channel,
    options: SpliceOptions,
    resolve: (end: SpliceEnd) => void,
  ) {
    this.#left = left
    this.#right = right
    this.#options = options
    this.#resolve = resolve
  }

  start(): void {
    const { signal, onLeftBytes, onRightBytes } = this.#options
    signal?.addEventListener('abort', this.#onAbort)
    this.#left.attach(this.#sink('left', this.#left, this.#right, onLeftBytes))
    this.#right.attach(this.#sink('right', this.#right, this.#left, onRightBytes))
    if (signal?.aborted === true) this.#onAbort()
    this.#left.resume()
    this.#right.resume()
  }

  #sink(
    side: 'left' | 'right',
    from: Channel,
    to: Channel,
    count: (bytes: number) => void,
  ): ChannelSink {
    return {
      data(chunk) {
        count(chunk.length)
        if (!to.write(chunk)) from.pause()
      },
      ended: () => {
        to.end()
        this.#told()
      },
      drained: () => to.resume(),
      finished: () => this.#told(),
      failed: (error) => this.#fail(side, error),
    }
  }

  #onAbort = (): void => {
    const reason: unknown = this.#options.signal?.reason
    this.#fail('signal', reason instanceof Error ? reason : new Error('aborted', { cause: reason }))
  }

  #told(): void {
    this.#open--
    if (this.#open === 0) this.#settle({ kind: 'complete' })
  }

  #fail(side: 'left' | 'right' | 'signal', error: Error): void {
    if (this.#end !== undefined || this.#over) return
    this.#end = { kind: 'cut', side, error }
    this.#left.cut(error)
    this.#right.cut(error)
    this.#settle(this.#end)
  }

  #settle(end: SpliceEnd): void {
    if (this.#over) return
    this.#over = true
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#resolve(end)
  }
}
