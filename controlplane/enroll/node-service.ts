import { type ServerDuplexStream, status } from '@grpc/grpc-js'
import type {
  AgentMessage,
  ControlMessage,
  NodeServiceServer,
} from '../../shared/proto/generated/node.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { codeOf, describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { Authenticate } from '../ca/authenticate.ts'
import type { WantedPod } from '../compile/enrollment.ts'
import { endCall } from '../end-call.ts'
import { type AgentStatus, AgentStream } from './agent-stream.ts'

export interface NodeServiceOptions {
  readonly authenticate: Authenticate
  /** The pods of a node that the mesh has an opinion about. */
  readonly wantedPods: (node: string) => readonly WantedPod[]
  /** The agent of its node holds the pod, or waits for it to be announced as plain. */
  readonly report: (uid: string, captured: boolean) => void
  readonly clock: Clock
  readonly log: Log
}

type Call = ServerDuplexStream<AgentMessage, ControlMessage>

/**
 * `ambit.node.v1`: tells the agent of each node which pods to capture, and takes its reports. One stream a node; a
 * newer one replaces the older. A stream that is lost changes nothing.
 */
export class NodeService implements Disposable {
  readonly implementation: NodeServiceServer = { enroll: (call) => void this.#serve(call) }
  readonly #options: NodeServiceOptions
  readonly #log: Log
  /** By node. */
  readonly #streams = new Map<string, AgentStream>()
  #closed = false

  constructor(options: NodeServiceOptions) {
    this.#options = options
    this.#log = options.log.child('enroll')
  }

  /** To be called after the resources that go with the change were announced. */
  nodesChanged(nodes: Iterable<string>): void {
    for (const node of nodes) this.#streams.get(node)?.update()
  }

  agents(): readonly AgentStatus[] {
    return [...this.#streams.values()].map((stream) => stream.status())
  }

  [Symbol.dispose](): void {
    this.#closed = true
    for (const stream of this.#streams.values()) {
      stream.end(status.UNAVAILABLE, 'the control plane stops')
    }
    this.#streams.clear()
  }

  async #serve(call: Call): Promise<void> {
    call.on('error', () => undefined)
    const { authenticate, wantedPods, report, clock } = this.#options
    let node: string
    try {
      node = (await authenticate(call.metadata)).node
    } catch (error) {
      this.#log.warn('agent refused', { peer: call.getPeer(), error: describeError(error) })
      endCall(
        call,
        status.UNAUTHENTICATED,
        error instanceof Error ? error.message : (codeOf(error) ?? 'refused'),
      )
      return
    }
    if (call.cancelled) return
    if (this.#closed) {
      endCall(call, status.UNAVAILABLE, 'the control plane stops')
      return
    }
    const stream = new AgentStream({
      call,
      node,
      clock,
      log: this.#log,
      wantedPods: () => wantedPods(node),
      report,
      greeted: (one) => this.#replace(one),
      closed: (one) => this.#forget(one),
    })
    stream.begin()
  }

  /** Only an agent that said hello takes the place of another. */
  #replace(stream: AgentStream): void {
    const older = this.#streams.get(stream.node)
    this.#streams.set(stream.node, stream)
    older?.end(status.ABORTED, 'a newer stream of this node took its place')
    this.#log.info('agent connected', { node: stream.node })
  }

  #forget(stream: AgentStream): void {
    if (this.#streams.get(stream.node) !== stream) return
    this.#streams.delete(stream.node)
    this.#log.info('agent gone', { node: stream.node })
  }
}
