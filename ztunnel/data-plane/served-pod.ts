import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { codeOf } from '../../shared/runtime/errors.ts'
import { pause } from '../../shared/runtime/lifecycle.ts'
import type { DescriptorBudget } from '../capture/descriptor-budget.ts'
import { closePodSockets, openPodSockets, type PodSockets } from '../capture/listener.ts'
import type { PodOrder, WorkerCertificate } from './messages.ts'
import type { WorkerHandle } from './worker-handle.ts'

/** The main thread's share of the descriptor budget. */
export const MAIN_SLOT = 0

/** In one worker: three sockets, a copy of each, a handle on the namespace. */
const DESCRIPTORS_PER_WORKER = 7

/** A worker that takes longer to listen hangs. */
const OPEN_MS = 5_000
/** Nobody waits longer for a worker that hangs. */
const STOP_MS = 500

export interface ServedPodOptions {
  readonly order: PodOrder
  readonly identity: string
  /** Stays the caller's. */
  readonly netns: NetworkNamespace
  readonly budget: DescriptorBudget
  readonly workers: readonly WorkerHandle[]
  readonly certificate: () => WorkerCertificate | undefined
  readonly onDispose: (pod: ServedPod) => void
}

/**
 * A captured pod as the main thread has it. The sockets are opened and closed here: a descriptor belongs to the
 * process, so that what a lost worker leaves behind has an owner.
 */
export class ServedPod implements Disposable {
  readonly id: number
  readonly identity: string
  readonly #options: ServedPodOptions
  /** By number of the worker. */
  readonly #sockets = new Map<number, PodSockets>()
  #accepting = true
  #disposed = false

  constructor(options: ServedPodOptions) {
    this.#options = options
    this.id = options.order.id
    this.identity = options.identity
  }

  /**
   * Makes a worker listen in the pod; false if the worker went down meanwhile. Rejects if it cannot, and is to be
   * tried again, or the pod disposed, then.
   */
  async openOn(worker: WorkerHandle): Promise<boolean> {
    if (!this.#accepting) return false
    const sockets = this.#sockets.get(worker.number) ?? this.#open(worker.number)
    const certificate = this.#options.certificate()
    if (certificate !== undefined) worker.send({ kind: 'certificate', certificate })
    try {
      const pod = this.#options.order
      await worker.ask({ of: 'open', pod, sockets }, { timeoutMs: OPEN_MS })
      return true
    } catch (error) {
      if (codeOf(error) === 'WORKER_GONE') return false
      throw error
    }
  }

  /** The worker is down, others are there: the kernel gives them what waits in its queues (`tcp_migrate_req`). */
  closeSocketsOf(worker: WorkerHandle): void {
    const sockets = this.#sockets.get(worker.number)
    if (sockets === undefined) return
    this.#sockets.delete(worker.number)
    closePodSockets(sockets)
    this.#options.budget.add(MAIN_SLOT, -DESCRIPTORS_PER_WORKER)
  }

  /** GOAWAY to all HBONE peers; what is open goes on, and those who come back are served. */
  shed(): void {
    for (const worker of this.#options.workers) worker.send({ kind: 'shed', pod: this.id })
  }

  /** Takes no connection any more; settles when every worker that answers has heard of it, or after half a second. */
  async stopAccepting(): Promise<void> {
    this.#accepting = false
    const workers = this.#options.workers.map((worker) => this.#giveBack(worker, 'stop-accepting'))
    const answered = new AbortController()
    const late = pause(STOP_MS, answered.signal)
    await Promise.race([Promise.all(workers), late])
    answered.abort()
  }

  /** Also lets what is open end; settles when that has happened or `deadline` aborts, which cuts the rest. */
  async drain(deadline: AbortSignal): Promise<void> {
    await this.stopAccepting()
    await this.idle(deadline)
    for (const worker of this.#options.workers) worker.send({ kind: 'cut', pod: this.id })
  }

  /** Settles when no worker has a connection of this pod, or `signal` aborts. */
  async idle(signal: AbortSignal): Promise<void> {
    const ask = async (worker: WorkerHandle): Promise<boolean> => {
      try {
        return (await worker.ask({ of: 'idle', pod: this.id }, { signal })) === 'already'
      } catch (error) {
        // What is gone has no connections any more.
        if (signal.aborted || codeOf(error) === 'WORKER_GONE') return true
        throw error
      }
    }
    // While one was waited for, another may have got a connection.
    for (;;) {
      const already = await Promise.all(this.#options.workers.map(ask))
      if (signal.aborted || already.every((one) => one)) return
    }
  }

  /** Cuts everything at once. */
  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#accepting = false
    for (const worker of this.#options.workers) void this.#giveBack(worker, 'close')
    this.#options.onDispose(this)
  }

  /** Closes a worker's sockets when it no longer uses them, for the numbers could mean others by then. */
  async #giveBack(worker: WorkerHandle, of: 'stop-accepting' | 'close'): Promise<void> {
    await worker.ask({ of, pod: this.id }).catch(() => undefined)
    this.closeSocketsOf(worker)
  }

  #open(number: number): PodSockets {
    const sockets = openPodSockets(this.#options.netns)
    this.#sockets.set(number, sockets)
    this.#options.budget.add(MAIN_SLOT, DESCRIPTORS_PER_WORKER)
    return sockets
  }
}
