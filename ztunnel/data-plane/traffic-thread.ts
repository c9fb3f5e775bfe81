import type { MessagePort } from 'node:worker_threads'
import { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { MeshStore } from '../../shared/mesh/store.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { AmbitError, codeOf, describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import { Metrics } from '../../shared/telemetry/metrics.ts'
import { createTelemetry, type Telemetry } from '../../shared/telemetry/recorder.ts'
import { DescriptorBudget } from '../capture/descriptor-budget.ts'
import { DescriptorGate } from '../capture/descriptor-gate.ts'
import type { PodSockets } from '../capture/listener.ts'
import type { NodeContext } from '../tunnel/pod-context.ts'
import type {
  Answers,
  ConnectionList,
  ConnectionRow,
  FromWorker,
  PodOrder,
  Question,
  ToWorker,
  WorkerCertificate,
  WorkerStart,
} from './messages.ts'
import { PodServer } from './pod-server.ts'
import { WorkerCertificates } from './worker-certificates.ts'

/** More is left out of one answer, and its number given. */
const MAX_LISTED = 10_000
/** A longer text is not sent, and the question fails. */
const MAX_TEXT = 64 * 1_048_576

export interface TrafficThreadOptions {
  readonly port: MessagePort
  readonly start: WorkerStart
  readonly clock: Clock
  readonly log: Log
  /** Writes the log lines that are still in memory. */
  readonly flushLog: () => void
}

/**
 * The traffic of all pods of the node, as far as this thread accepts it. It knows what the main thread tells it, and
 * needs it for nothing else: connections go on while that is busy.
 */
export class TrafficThread {
  readonly #options: TrafficThreadOptions
  readonly #mesh = new MeshStore()
  readonly #metrics = new Metrics()
  readonly #telemetry: Telemetry
  readonly #certificates: WorkerCertificates
  readonly #node: NodeContext
  readonly #pods = new Map<number, PodServer>()

  /** Says that it is ready, and does as it is told from then on. */
  constructor(options: TrafficThreadOptions) {
    this.#options = options
    const { port, start, clock, log } = options
    this.#telemetry = createTelemetry({ metrics: this.#metrics, log, clock })
    this.#certificates = new WorkerCertificates({
      clock,
      ask: (identity) => this.#tell({ kind: 'want-certificate', identity }),
    })
    this.#node = {
      mesh: this.#mesh,
      certificates: this.#certificates,
      telemetry: this.#telemetry,
      gate: this.#gate(start),
      clock,
      log,
      settings: start.settings,
    }
    port.on('message', (message: ToWorker) => this.#receive(message))
    this.#tell({ kind: 'ready' })
  }

  #gate({ descriptors, number }: WorkerStart): DescriptorGate {
    const { log } = this.#options
    const budget = new DescriptorBudget(descriptors)
    return new DescriptorGate({
      budget,
      slot: number,
      onLimit: () => {
        log.warn('descriptor limit reached, accepting pauses', { budget: budget.limit })
        this.#tell({ kind: 'limit-reached' })
      },
      onPause: () => {
        for (const pod of this.#pods.values()) pod.pauseAccepting()
      },
      onResume: () => {
        for (const pod of this.#pods.values()) pod.resumeAccepting()
        log.info('accepting again', { worker: number })
      },
    })
  }

  #tell(message: FromWorker): void {
    // Nothing is transferred: what is said is copied.
    this.#options.port.postMessage(message, [])
  }

  #receive(message: ToWorker): void {
    switch (message.kind) {
      case 'addresses':
        this.#mesh.applyAddresses(message.upserts, message.removed)
        break
      case 'policies':
        this.#mesh.applyPolicies(message.upserts, message.removed)
        break
      case 'certificate':
        this.#install(message.certificate)
        break
      case 'no-certificate':
        this.#certificates.refuse(message.identity, message.refusal)
        break
      case 'shed':
        this.#pods.get(message.pod)?.shed()
        break
      case 'cut':
        this.#pods.get(message.pod)?.cut()
        break
      case 'log-level':
        this.#options.log.setLevel(message.level)
        break
      case 'ask':
        void this.#reply(message.id, message.question)
        break
    }
  }

  #install(certificate: WorkerCertificate): void {
    this.#certificates.install(certificate)
    for (const pod of this.#pods.values()) {
      if (pod.identity === certificate.identity) pod.rekey(certificate)
    }
  }

  async #reply(id: number, question: Question): Promise<void> {
    try {
      this.#tell({ kind: 'answer', id, answer: await this.#answer(question) })
    } catch (error) {
      const failure = { code: codeOf(error) ?? 'WORKER_FAILED', message: describeError(error) }
      this.#tell({ kind: 'failed', id, failure })
    }
  }

  #answer(question: Question): Answers[Question['of']] | Promise<Answers[Question['of']]> {
    switch (question.of) {
      case 'open':
        return this.#open(question.pod, question.sockets)
      case 'stop-accepting':
        return this.#pods.get(question.pod)?.stopAccepting()
      case 'close':
        return this.#close(question.pod)
      case 'idle':
        return this.#idle(question.pod)
      case 'metrics':
        return this.#exposition()
      case 'links':
        return this.#telemetry.links.snapshot()
      case 'connections':
        return this.#connections()
      case 'stop':
        return this.#stop()
    }
  }

  #open(order: PodOrder, sockets: PodSockets): undefined {
    const namespace = NetworkNamespace.open(order.netnsPath)
    try {
      if (namespace.key !== order.netnsKey) {
        throw new AmbitError('WORKER_NAMESPACE', `the namespace of ${order.uid} was replaced`)
      }
      // A thread that cannot get in, or back out, says so before it has connections.
      namespace.run(() => undefined)
      this.#pods.set(order.id, new PodServer(this.#node, order, { namespace, sockets }))
    } catch (error) {
      namespace[Symbol.dispose]()
      throw error
    }
  }

  #close(id: number): undefined {
    this.#pods.get(id)?.[Symbol.dispose]()
    this.#pods.delete(id)
    this.#certificates.retain(new Set(Array.from(this.#pods.values(), (pod) => pod.identity)))
  }

  async #idle(id: number): Promise<'already' | 'waited'> {
    const pod = this.#pods.get(id)
    if (pod === undefined || pod.connections.size === 0) return 'already'
    await pod.idle()
    return 'waited'
  }

  async #exposition(): Promise<string> {
    const text = await this.#metrics.exposition()
    if (text.length <= MAX_TEXT) return text
    throw new AmbitError('WORKER_ANSWER', `the metrics are ${text.length} characters long`)
  }

  #connections(): ConnectionList {
    let room = MAX_LISTED
    let omitted = 0
    const pods = Array.from(this.#pods.values(), ({ order, connections, hboneConnections }) => {
      const all = connections.list()
      const open = all.slice(0, room)
      room -= open.length
      omitted += all.length - open.length
      return { id: order.id, hbone: hboneConnections, open: open.map(rowOf) }
    })
    return { pods, omitted }
  }

  async #stop(): Promise<undefined> {
    for (const id of this.#pods.keys()) this.#close(id)
    // What was cut says so in the log, once its streams have heard of it.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    this.#options.flushLog()
  }
}

/** Without what cannot cross threads. */
const rowOf = ({ direction, source, destination, protocol }: ConnectionRow): ConnectionRow => ({
  direction,
  source,
  destination,
  protocol,
})
