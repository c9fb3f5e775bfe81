import type { Socket } from 'node:net'
import type { TlsMaterial } from '../../shared/identity/identity-material.ts'
import { formatSpiffeId } from '../../shared/identity/spiffe.ts'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { settled } from '../../shared/runtime/lifecycle.ts'
import { Listener, type PodSockets } from '../capture/listener.ts'
import { OpenConnections } from '../tunnel/connections.ts'
import { drainClose } from '../tunnel/failure.ts'
import { InboundProxy } from '../tunnel/inbound.ts'
import { OutboundProxy } from '../tunnel/outbound.ts'
import { PassthroughProxy } from '../tunnel/passthrough.ts'
import type { NodeContext, PodContext } from '../tunnel/pod-context.ts'
import { Tunnels } from '../tunnel/tunnels.ts'
import type { PodOrder } from './messages.ts'

/** One pod in one worker: accepts at its three ports, and holds what this worker has open for it. */
export class PodServer implements Disposable {
  readonly order: PodOrder
  readonly connections: OpenConnections
  readonly #context: PodContext
  readonly #tunnels: Tunnels
  readonly #inbound: InboundProxy
  readonly #listeners: readonly Listener[]
  readonly #stopListening: () => void
  #idle: Promise<void> | undefined
  #stopped = false
  #disposed = false

  /** Accepts from the sockets, which stay the caller's, unless the node has paused. Takes over the namespace handle. */
  constructor(
    node: NodeContext,
    order: PodOrder,
    at: { readonly namespace: NetworkNamespace; readonly sockets: PodSockets },
  ) {
    this.order = order
    const { uid, name, namespace, trustDomain, serviceAccount } = order
    this.connections = new OpenConnections(uid, node.mesh)
    this.#context = {
      ...node,
      log: node.log.child('pod', { pod: `${namespace}/${name}` }),
      uid,
      name,
      workloadNamespace: namespace,
      trustDomain,
      identity: formatSpiffeId({ trustDomain, namespace, serviceAccount }),
      namespace: at.namespace,
      connections: this.connections,
    }
    this.#tunnels = new Tunnels(this.#context)
    this.#inbound = new InboundProxy(this.#context)
    this.#listeners = this.#listen(at.sockets)
    this.#stopListening = node.mesh.onChange((change) => {
      if (change.policies.size > 0 || change.workloads.has(uid)) this.connections.recheck()
    })
    if (!node.gate.paused) this.resumeAccepting()
  }

  /** SPIFFE identity of the pod. */
  get identity(): string {
    return this.#context.identity
  }

  /** HBONE connections in both directions. */
  get hboneConnections(): number {
    return this.#inbound.peers + this.#tunnels.connections
  }

  /** After a rotation: new connections use the new certificate, those that are open live on. */
  rekey(material: TlsMaterial): void {
    this.#inbound.rekey(material)
    this.#tunnels.rekey()
  }

  pauseAccepting(): void {
    for (const listener of this.#listeners) listener.pause()
  }

  resumeAccepting(): void {
    if (this.#stopped) return
    for (const listener of this.#listeners) listener.resume()
  }

  /** For good, tunnels included: the sockets are not used any more. What is open goes on. */
  stopAccepting(): undefined {
    this.#stopped = true
    this.pauseAccepting()
    this.#inbound.drain()
  }

  /** Peers are told to connect anew; new connections of the pod itself do so as well. */
  shed(): void {
    this.#inbound.shed()
    this.#tunnels.rekey()
  }

  /** Settles when no connection is open. */
  async idle(): Promise<void> {
    this.#idle ??= settled(
      () => this.connections.size === 0,
      (listener) => this.connections.onEnd(listener),
      NEVER,
    ).finally(() => {
      this.#idle = undefined
    })
    await this.#idle
  }

  cut(): void {
    this.connections.abortAll(drainClose())
  }

  /** Cuts everything at once. */
  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.stopAccepting()
    this.#stopListening()
    this.cut()
    this.#inbound[Symbol.dispose]()
    this.#tunnels[Symbol.dispose]()
    this.#context.namespace[Symbol.dispose]()
  }

  #listen(sockets: PodSockets): readonly Listener[] {
    const outbound = new OutboundProxy(this.#context, this.#tunnels)
    const passthrough = new PassthroughProxy(this.#context)
    const { log } = this.#context
    const accept = (fd: number, serve: (socket: Socket) => Promise<void>): Listener =>
      new Listener({ fd, log, onConnection: (socket) => void serve(socket) })
    return [
      accept(sockets.outbound, (socket) => outbound.serve(socket)),
      accept(sockets.inboundPlaintext, (socket) => passthrough.serve(socket)),
      accept(sockets.hbone, (socket) => this.#inbound.serve(socket)),
    ]
  }
}

const NEVER = new AbortController().signal
