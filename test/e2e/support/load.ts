import { randomBytes } from 'node:crypto'
import type { Place } from '../../../shared/lab/place.ts'
import { request } from '../../../shared/lab/request.ts'
import { describeError } from '../../../shared/runtime/errors.ts'

export interface LoadOptions {
  readonly from: Place
  readonly to: Place
  readonly family?: 4 | 6
  /** Of an `http-app`. */
  readonly port: number
  readonly perSecond: number
}

export interface LoadFailure {
  /** When the call began, on the scale of `performance.now()`. */
  readonly at: number
  readonly endedAt: number
  readonly call: string
  readonly error: string
}

const TIMEOUT_MS = 30_000
/** Beyond it, nothing new is begun until some have ended. */
const MOST_OPEN = 200

/** A steady load: every call is a new connection with one HTTP request that carries `secret`. */
export class Load implements AsyncDisposable {
  /** Random text that is in every request, to be looked for where it must not be seen. */
  readonly secret = Buffer.from(randomBytes(24).toString('hex'))
  readonly failures: LoadFailure[] = []
  readonly #options: LoadOptions
  readonly #timer: NodeJS.Timeout
  readonly #open = new Set<Promise<void>>()
  readonly #waiting = new Set<{ readonly answered: number; readonly resolve: () => void }>()
  #answered = 0
  #skipped = 0

  constructor(options: LoadOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#begin(), 1_000 / options.perSecond)
  }

  /** Calls that were answered. */
  get answered(): number {
    return this.#answered
  }

  /** Calls that were left out because too many hung. */
  get skipped(): number {
    return this.#skipped
  }

  /** Settles when so many more calls were answered. */
  async more(calls: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.add({ answered: this.#answered + calls, resolve })
    })
  }

  /** Begins nothing more and waits for what is open. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#open)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #begin(): void {
    if (this.#open.size >= MOST_OPEN) {
      this.#skipped++
      return
    }
    const running = this.#call().finally(() => this.#open.delete(running))
    this.#open.add(running)
  }

  async #call(): Promise<void> {
    const { from, to, port, family = 4 } = this.#options
    const host = family === 4 ? to.address4 : to.address6
    const at = performance.now()
    const fail = (error: string): void => {
      const call = `${from.name} to ${to.name} by IPv${family}`
      this.failures.push({ at, endedAt: performance.now(), call, error })
    }
    try {
      const path = `/?${this.secret.toString()}`
      const { status, body } = await request(from, { host, port, path, timeoutMs: TIMEOUT_MS })
      const peer = family === 4 ? from.address4 : from.address6
      if (status !== 200) fail(`status ${status}`)
      else if (!body.includes(`"peer":"${peer}"`)) fail(`the app sees another peer: ${body}`)
      else this.#count()
    } catch (error) {
      fail(describeError(error))
    }
  }

  #count(): void {
    this.#answered++
    for (const one of this.#waiting) {
      if (one.answered > this.#answered) continue
      this.#waiting.delete(one)
      one.resolve()
    }
  }
}
