import { Worker } from 'node:worker_threads'
import { Backoff } from '../../shared/runtime/backoff.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import { AmbitError, describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { Answers, FromWorker, Question, ToWorker, WorkerStart } from './messages.ts'

export interface WorkerHandleOptions {
  /** The program of the worker. */
  readonly program: URL
  /** Asked for every start. */
  readonly startOf: () => WorkerStart
  readonly number: number
  readonly clock: Clock
  readonly log: Log
  /** The worker is there and knows nothing yet, the first time or after a restart. */
  readonly onUp: (worker: WorkerHandle) => void
  /** The worker is gone, and with it what it held; another one follows. */
  readonly onDown: (worker: WorkerHandle) => void
  readonly onMessage: (worker: WorkerHandle, message: Notice) => void
}

/** What a worker says unasked. */
export type Notice = Extract<FromWorker, { kind: 'want-certificate' | 'limit-reached' }>

export interface AskOptions {
  /** Milliseconds until `WORKER_SILENT`; without, as long as the worker lives. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

const START_MS = 30_000
const STOP_MS = 1_000
/** A worker that lived as long was a success. */
const STABLE_MS = 10_000
/** Questions without an answer yet; only a worker that hangs gathers so many. */
const MAX_PENDING = 10_000

interface Pending {
  resolve(answer: FromWorker & { kind: 'answer' }): void
  reject(error: Error): void
}

/** One data-plane worker as the main thread has it: started anew whenever it ends, until it is stopped. */
export class WorkerHandle {
  readonly number: number
  readonly #options: WorkerHandleOptions
  readonly #backoff = new Backoff({ firstMs: 100, maxMs: 5_000 })
  readonly #pending = new Map<number, Pending>()
  readonly #first = Promise.withResolvers<void>()
  #worker: Worker | undefined
  #isUp = false
  #everUp = false
  #stopped = false
  #retry: Timer | undefined
  #lastId = 0

  constructor(options: WorkerHandleOptions) {
    this.#options = options
    this.number = options.number
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** Resolves when the worker is up. Rejects with `WORKER_START` if it ends before, or is not up within 30 s. */
  async start(): Promise<void> {
    const timer = this.#options.clock.after(START_MS, () =>
      this.#first.reject(startFailure(this.number, `not ready within ${START_MS / 1_000} s`)),
    )
    this.#spawn()
    await this.#first.promise.finally(() => timer.cancel())
  }

  /** Ends it; open connections are cut. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#retry?.cancel()
    if (this.#isUp) await this.ask({ of: 'stop' }, { timeoutMs: STOP_MS }).catch(() => undefined)
    await this.#worker?.terminate()
  }

  /** A worker that is down misses it, and learns of it when it is up. */
  send(message: ToWorker): void {
    if (this.#isUp) this.#worker?.postMessage(message)
  }

  /**
   * Rejects with what the worker failed with, `WORKER_SILENT` after `timeoutMs`, `WORKER_GONE` if it is down or goes
   * down meanwhile, or the reason of `signal`.
   */
  async ask<Q extends Question>(question: Q, options: AskOptions = {}): Promise<Answers[Q['of']]> {
    const { timeoutMs, signal } = options
    signal?.throwIfAborted()
    if (!this.#isUp) throw this.#gone()
    if (this.#pending.size >= MAX_PENDING) throw this.#silent()
    const id = ++this.#lastId
    const { promise, resolve, reject } = Promise.withResolvers<FromWorker & { kind: 'answer' }>()
    const timer =
      timeoutMs === undefined
        ? undefined
        : this.#options.clock.after(timeoutMs, () => reject(this.#silent()))
    const onAbort = (): void => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort)
    this.#pending.set(id, { resolve, reject })
    this.#worker?.postMessage({ kind: 'ask', id, question } satisfies ToWorker)
    try {
      const { answer } = await promise
      // The answer has the id of this question, so it is of its kind.
      return answer as Answers[Q['of']]
    } finally {
      timer?.cancel()
      signal?.removeEventListener('abort', onAbort)
      this.#pending.delete(id)
    }
  }

  #spawn(): void {
    const { program, startOf, clock, log, number } = this.#options
    const worker = new Worker(program, { workerData: startOf(), name: `worker ${number}` })
    this.#worker = worker
    const since = clock.monotonicMs()
    let error = ''
    worker.on('message', (message: FromWorker) => this.#receive(message))
    worker.on('error', (thrown) => {
      error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : describeError(thrown)
    })
    worker.on('exit', (code) => {
      if (clock.monotonicMs() - since >= STABLE_MS) this.#backoff.reset()
      if (!this.#stopped) log.error('a worker ended', { worker: number, code, error })
      this.#ended(error)
    })
  }

  #ended(error: string): void {
    const { clock, onDown } = this.#options
    const wasUp = this.#isUp
    this.#isUp = false
    this.#worker = undefined
    for (const pending of this.#pending.values()) pending.reject(this.#gone())
    this.#first.reject(startFailure(this.number, error))
    if (this.#stopped) return
    if (wasUp) onDown(this)
    // One that never worked is the caller's to give up or to try again.
    if (this.#everUp) this.#retry = clock.after(this.#backoff.nextMs(), () => this.#spawn())
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'ready':
        this.#isUp = true
        this.#everUp = true
        this.#options.onUp(this)
        this.#first.resolve()
        break
      case 'answer':
        this.#pending.get(message.id)?.resolve(message)
        break
      case 'failed': {
        const { code, message: text } = message.failure
        this.#pending.get(message.id)?.reject(new AmbitError(code, text))
        break
      }
      case 'want-certificate':
      case 'limit-reached':
        this.#options.onMessage(this, message)
        break
    }
  }

  #gone(): AmbitError {
    return new AmbitError('WORKER_GONE', `worker ${this.number} is down`)
  }

  #silent(): AmbitError {
    return new AmbitError('WORKER_SILENT', `worker ${this.number} does not answer`)
  }
}

const startFailure = (number: number, why: string): AmbitError =>
  new AmbitError('WORKER_START', `worker ${number} cannot start: ${why}`)
