import type { CertificateManager } from '../../shared/identity/certificate-manager.ts'
import { expiryOf, type IdentityMaterial } from '../../shared/identity/identity-material.ts'
import { formatSpiffeId } from '../../shared/identity/spiffe.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { AmbitError, codeOf, describeError } from '../../shared/runtime/errors.ts'
import type { Component } from '../../shared/runtime/lifecycle.ts'
import type { Log, LogFormat, LogLevel } from '../../shared/runtime/log.ts'
import { type LinkRow, mergeLinks } from '../../shared/telemetry/link-table.ts'
import type { Metrics } from '../../shared/telemetry/metrics.ts'
import { createWorkerCounts, type WorkerCounts } from '../../shared/telemetry/worker-counts.ts'
import type { DescriptorBudget } from '../capture/descriptor-budget.ts'
import type { PodSubject } from '../capture/pod-subject.ts'
import { HOLD_MS, type NodeContext, within } from '../tunnel/pod-context.ts'
import type { MeshSource } from './mesh-source.ts'
import type {
  Answers,
  ConnectionRow,
  Failure,
  Question,
  ToWorker,
  WorkerCertificate,
} from './messages.ts'
import { ServedPod } from './served-pod.ts'
import { type Notice, WorkerHandle } from './worker-handle.ts'
import { WorkerMetrics } from './worker-metrics.ts'

export interface DataPlaneOptions {
  /** How many workers. */
  readonly threads: number
  /** The program of a worker. */
  readonly program: URL
  readonly settings: NodeContext['settings']
  readonly logFormat: LogFormat
  readonly mesh: MeshSource
  readonly certificates: CertificateManager
  /** With a slot for each worker, from 1, and one for the main thread. Taken over. */
  readonly budget: DescriptorBudget
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
  /** The descriptor limit was reached. */
  readonly onLimit: () => void
}

/** A view over all workers, and the numbers of those that did not answer: they are missing in it. */
export interface View<T> {
  readonly value: T
  readonly missing: readonly number[]
}

/** Open connections by `ServedPod.id`. */
export interface ConnectionView {
  readonly pods: ReadonlyMap<number, readonly ConnectionRow[]>
  /** Connections that there are and the view does not show. */
  readonly omitted: number
}

/** How long people wait for a worker that does not answer. */
const VIEW_MS = 2_000
const REOPEN_MS = 5_000

/**
 * Where traffic runs: worker threads, each with listeners of its own in every captured pod. The main thread tells
 * them what it knows and what to serve; a worker that is lost is replaced and told everything again.
 */
export class DataPlane implements Component {
  readonly name = 'data plane'
  readonly #options: DataPlaneOptions
  readonly #workers: readonly WorkerHandle[]
  readonly #pods = new Map<number, ServedPod>()
  readonly #texts = new WorkerMetrics()
  readonly #counts: WorkerCounts
  readonly #stopListening: () => void
  readonly #started = Promise.withResolvers<void>()
  #lastPod = 0

  constructor(options: DataPlaneOptions) {
    this.#options = options
    const { program, clock, log, mesh, certificates } = options
    this.#workers = Array.from({ length: options.threads }, (_, at) => {
      const number = at + 1
      return new WorkerHandle({
        program,
        number,
        clock,
        log,
        startOf: () => ({
          number,
          settings: options.settings,
          logLevel: log.level,
          logFormat: options.logFormat,
          descriptors: options.budget.shared,
        }),
        onUp: (worker) => this.#up(worker),
        onDown: (worker) => this.#down(worker),
        onMessage: (worker, message) => this.#receive(worker, message),
      })
    })
    this.#counts = createWorkerCounts(
      options.metrics,
      () => this.#workers.filter((worker) => worker.isUp).length,
    )
    mesh.onUpdate((update) => this.#broadcast(update))
    this.#stopListening = certificates.onRotate((_identity, material) =>
      this.#broadcast({ kind: 'certificate', certificate: certificateOf(material) }),
    )
  }

  /** Resolves when all workers are up; rejects with `WORKER_START` if one cannot start. */
  async start(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.start()))
    this.#started.resolve()
  }

  /** Pods are drained one by one, by whoever has them. */
  async drain(): Promise<void> {
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening()
    // Those who wait for the start find no worker.
    this.#started.resolve()
    for (const pod of this.#pods.values()) pod[Symbol.dispose]()
    await Promise.all(this.#workers.map((worker) => worker.stop()))
    this.#options.budget[Symbol.dispose]()
  }

  /**
   * Serves a pod from all workers, once they have started; resolves when every one that is up listens. Rejects with
   * `WORKER_NONE` if none is, or with what failed; nothing listens then. The namespace handle stays the caller's, and
   * is needed until disposal.
   */
  async serve(subject: PodSubject): Promise<ServedPod> {
    await this.#started.promise
    const pod = this.#pod(subject)
    this.#options.certificates.want(pod.identity)
    this.#pods.set(pod.id, pod)
    try {
      const up = this.#workers.filter((worker) => worker.isUp)
      const opened = await Promise.all(up.map((worker) => pod.openOn(worker)))
      if (!opened.includes(true)) {
        throw new AmbitError('WORKER_NONE', 'no data-plane worker is running')
      }
      return pod
    } catch (error) {
      pod[Symbol.dispose]()
      throw error
    }
  }

  setLogLevel(level: LogLevel): void {
    this.#options.log.setLevel(level)
    this.#broadcast({ kind: 'log-level', level })
  }

  /** OpenMetrics text of the whole program; a worker that does not answer counts as it last did. */
  async exposition(): Promise<string> {
    const up = this.#workers.filter((worker) => worker.isUp)
    const { answers, missing } = await this.#ask({ of: 'metrics' }, up)
    this.#counts.silent(missing.length)
    for (const [number, text] of answers) this.#texts.update(number, text)
    return this.#texts.exposition(await this.#options.metrics.exposition())
  }

  async links(): Promise<View<readonly LinkRow[]>> {
    const { answers, missing } = await this.#ask({ of: 'links' })
    return { value: mergeLinks([...answers.values()].flat()), missing }
  }

  async connections(): Promise<View<ConnectionView>> {
    const { answers, missing } = await this.#ask({ of: 'connections' })
    const pods = new Map<number, ConnectionRow[]>()
    let omitted = 0
    for (const list of answers.values()) {
      omitted += list.omitted
      for (const { id, open } of list.pods) pods.set(id, [...(pods.get(id) ?? []), ...open])
    }
    return { value: { pods, omitted }, missing }
  }

  #pod(subject: PodSubject): ServedPod {
    const { uid, name, namespace, serviceAccount, trustDomain, netns } = subject
    const { budget, certificates } = this.#options
    const identity = formatSpiffeId({ trustDomain, namespace, serviceAccount })
    return new ServedPod({
      order: {
        id: ++this.#lastPod,
        uid,
        name,
        namespace,
        serviceAccount,
        trustDomain,
        netnsPath: netns.path,
        netnsKey: netns.key,
      },
      identity,
      netns,
      budget,
      workers: this.#workers,
      certificate: () => {
        const material = certificates.current(identity)
        return material === undefined ? undefined : certificateOf(material)
      },
      onDispose: (pod) => {
        this.#pods.delete(pod.id)
        certificates.forget(identity)
      },
    })
  }

  #broadcast(message: ToWorker): void {
    for (const worker of this.#workers) worker.send(message)
  }

  async #ask<Q extends Question>(
    question: Q,
    workers = this.#workers,
  ): Promise<{ answers: ReadonlyMap<number, Answers[Q['of']]>; missing: readonly number[] }> {
    const answers = new Map<number, Answers[Q['of']]>()
    const missing: number[] = []
    await Promise.all(
      workers.map(async (worker) => {
        try {
          answers.set(worker.number, await worker.ask(question, { timeoutMs: VIEW_MS }))
        } catch (error) {
          missing.push(worker.number)
          const fields = { worker: worker.number, question: question.of }
          this.#options.log.warn('no answer', { ...fields, error: describeError(error) })
        }
      }),
    )
    return { answers, missing: missing.sort((a, b) => a - b) }
  }

  #up(worker: WorkerHandle): void {
    for (const update of this.#options.mesh.replay()) worker.send(update)
    for (const pod of this.#pods.values()) void this.#reopen(worker, pod)
  }

  async #reopen(worker: WorkerHandle, pod: ServedPod): Promise<void> {
    if (!worker.isUp || this.#pods.get(pod.id) !== pod) return
    try {
      if (!(await pod.openOn(worker))) return
      // Sockets that were left open for want of a sibling have one now.
      for (const other of this.#workers) if (!other.isUp) pod.closeSocketsOf(other)
    } catch (error) {
      const { log, clock } = this.#options
      const fields = { worker: worker.number, identity: pod.identity }
      log.error('a pod is not served by a worker', { ...fields, error: describeError(error) })
      clock.after(REOPEN_MS, () => void this.#reopen(worker, pod))
    }
  }

  /** Its sockets stay only if nobody else would take what waits there. */
  #down(worker: WorkerHandle): void {
    this.#counts.restarted()
    this.#texts.lost(worker.number)
    this.#options.budget.clear(worker.number)
    if (!this.#workers.some((other) => other.isUp)) return
    for (const pod of this.#pods.values()) pod.closeSocketsOf(worker)
  }

  #receive(worker: WorkerHandle, message: Notice): void {
    switch (message.kind) {
      case 'limit-reached':
        this.#options.onLimit()
        break
      case 'want-certificate':
        void this.#certify(worker, message.identity)
        break
    }
  }

  async #certify(worker: WorkerHandle, identity: string): Promise<void> {
    const { certificates, clock } = this.#options
    const late = new AmbitError('WORKER_WAIT', 'no certificate yet')
    try {
      const material = await within(
        clock,
        HOLD_MS,
        () => late,
        (signal) => certificates.certificateFor(identity, signal),
      )
      worker.send({ kind: 'certificate', certificate: certificateOf(material) })
    } catch (error) {
      const refusal = error === late ? undefined : failureOf(error)
      worker.send({ kind: 'no-certificate', identity, refusal })
    }
  }
}

const certificateOf = (material: IdentityMaterial): WorkerCertificate => ({
  identity: material.identity,
  keyPem: material.keyPem,
  chainPem: material.chainPem,
  rootsPem: material.rootsPem,
  expiresMs: expiryOf(material),
})

const failureOf = (error: unknown): Failure => ({
  code: codeOf(error) ?? 'CERTIFICATE_FAILED',
  message: describeError(error),
})
