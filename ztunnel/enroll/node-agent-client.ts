import {
  type AgentMessage,
  type ControlMessage,
  NodeServiceService,
  type Pod,
  Pod_Wanted,
  Report_State,
} from '../../shared/proto/generated/node.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import type { Component } from '../../shared/runtime/lifecycle.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { ControlEndpoint } from '../../shared/xds/control-channel.ts'
import { KeptStream } from '../../shared/xds/kept-stream.ts'
import type { PodState, WantedPod } from './enrollment.ts'

export interface NodeAgentOptions extends ControlEndpoint {
  readonly node: string
  /** Releases the node on purpose: pods that are wanted may be reported as released. */
  readonly leaving?: boolean
  readonly clock: Clock
  readonly log: Log
  /** New orders; with `snapshot` the list is complete and pods that are not named are gone. */
  readonly onPods: (
    pods: readonly WantedPod[],
    removed: readonly string[],
    snapshot: boolean,
  ) => void
}

interface LastReport {
  readonly state: PodState
  readonly error: string
}

/** More than any node runs; a control plane that names more is not believed. */
const MOST_PODS = 10_000
const MOST_ERROR_CHARS = 1_000

const STATES = {
  captured: Report_State.CAPTURED,
  released: Report_State.RELEASED,
  error: Report_State.ERROR,
} as const satisfies Record<PodState, Report_State>

/**
 * The node's side of `ambit.node.v1`: one stream, kept. Orders come as one complete list for each stream and changes
 * after it. Reports are remembered, the last one for each pod, and repeated for every new stream; while there is none
 * they wait.
 */
export class NodeAgentClient implements Component {
  readonly name = 'node-agent'
  readonly #options: NodeAgentOptions
  readonly #stream: KeptStream<AgentMessage, ControlMessage>
  readonly #reports = new Map<string, LastReport>()
  /** The list of this stream until it is complete. */
  #snapshot: Map<string, WantedPod> | undefined
  #send: (message: AgentMessage) => void = () => undefined

  constructor(options: NodeAgentOptions) {
    this.#options = options
    const { address, rootFile, tokenFile, clusterId, clock } = options
    this.#stream = new KeptStream({
      name: this.name,
      endpoint: { address, rootFile, tokenFile, clusterId },
      method: NodeServiceService.enroll,
      clock,
      log: options.log.child('node-agent'),
      opened: (send) => this.#opened(send),
      received: (message) => this.#received(message),
    })
  }

  get connected(): boolean {
    return this.#stream.connected
  }

  async start(): Promise<void> {
    await this.#stream.start()
  }

  async drain(): Promise<void> {
    await this.#stream.drain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream[Symbol.asyncDispose]()
  }

  /** Says what became of a pod, now or as soon as there is a stream. */
  report(uid: string, state: PodState, error = ''): void {
    if (!this.#reports.has(uid) && this.#reports.size >= MOST_PODS) return
    const report = { state, error: error.slice(0, MOST_ERROR_CHARS) }
    this.#reports.set(uid, report)
    this.#sendReport(uid, report)
  }

  #opened(send: (message: AgentMessage) => void): void {
    this.#send = send
    this.#snapshot = new Map()
    send({
      message: {
        $case: 'hello',
        value: { node: this.#options.node, leaving: this.#options.leaving ?? false },
      },
    })
    for (const [uid, report] of this.#reports) this.#sendReport(uid, report)
  }

  #received({ pods, removed, snapshot }: ControlMessage): void {
    const wanted = pods.map(toWanted)
    if (this.#snapshot === undefined) {
      for (const uid of removed) this.#reports.delete(uid)
      this.#options.onPods(wanted, removed, false)
      for (const pod of wanted) this.#repeat(pod)
      return
    }
    for (const pod of wanted) this.#snapshot.set(pod.uid, pod)
    for (const uid of removed) this.#snapshot.delete(uid)
    if (this.#snapshot.size > MOST_PODS) {
      throw new AmbitError('NODE_ORDERS', `more than ${MOST_PODS} pods for one node`)
    }
    if (!snapshot) return
    const all = this.#snapshot
    this.#snapshot = undefined
    for (const uid of this.#reports.keys()) if (!all.has(uid)) this.#reports.delete(uid)
    this.#options.onPods([...all.values()], [], true)
  }

  /**
   * Orders that follow each other fast may leave the pod as it is, and then nobody says anew what the control plane
   * waits to hear.
   */
  #repeat(pod: WantedPod): void {
    const report = this.#reports.get(pod.uid)
    if (report?.state === pod.wanted) this.#sendReport(pod.uid, report)
  }

  #sendReport(uid: string, { state, error }: LastReport): void {
    this.#send({ message: { $case: 'report', value: { uid, state: STATES[state], error } } })
  }
}

/** Throws for an order that is none: to guess could take a pod out of the mesh. */
function toWanted(pod: Pod): WantedPod {
  const { uid, namespace, name, serviceAccount, addresses, trustDomain } = pod
  const of = (wanted: WantedPod['wanted']): WantedPod => ({
    uid,
    namespace,
    name,
    serviceAccount,
    addresses,
    trustDomain,
    wanted,
  })
  if (uid === '') throw new AmbitError('NODE_ORDERS', 'an order without a pod')
  if (pod.wanted === Pod_Wanted.CAPTURED) return of('captured')
  if (pod.wanted === Pod_Wanted.RELEASED) return of('released')
  throw new AmbitError('NODE_ORDERS', `${uid} is wanted neither captured nor released`)
}
