import type { Socket } from 'node:net'
import { formatSpiffeId } from '../shared/identity/spiffe.ts'
import type { NetworkNamespace } from '../shared/linux/namespace.ts'
import { settled } from '../shared/runtime/lifecycle.ts'
import { Listener } from './capture/listener.ts'
import { installCapture, removeCapture, stopRedirecting } from './capture/redirect.ts'
import { PORTS } from './capture/rules.ts'
import { OpenConnections } from './tunnel/connections.ts'
import { drainClose } from './tunnel/failure.ts'
import { InboundProxy } from './tunnel/inbound.ts'
import { OutboundProxy } from './tunnel/outbound.ts'
import { PassthroughProxy } from './tunnel/passthrough.ts'
import type { NodeContext, PodContext } from './tunnel/pod-context.ts'
import { Tunnels } from './tunnel/tunnels.ts'

/** The pod that the control plane wants captured, and the namespace that was found for it. */
export interface PodSubject {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly trustDomain: string
  readonly netns: NetworkNamespace
}

/** After the redirects are gone, peers may still hold an older view and call the HBONE port for this long. */
const RELEASE_QUIET_MS = 10_000

/**
 * One captured pod: three listeners, the rules that feed them, and what is open. Capture begins with listeners and
 * ends with them, so that no connection ever meets a rule without a listener while this process lives.
 */
export class PodProxy implements Disposable {
  readonly subject: PodSubject
  readonly connections: OpenConnections
  readonly #context: PodContext
  readonly #tunnels: Tunnels
  readonly #inbound: InboundProxy
  readonly #outbound: OutboundProxy
  readonly #passthrough: PassthroughProxy
  readonly #stopListening: (() => void)[] = []
  #listeners: Listener[] = []
  #disposed = false

  constructor(node: NodeContext, subject: PodSubject) {
    this.subject = subject
    const { uid, name, namespace, trustDomain, serviceAccount } = subject
    this.connections = new OpenConnections(uid, node.mesh)
    this.#context = {
      ...node,
      log: node.log.child('pod', { pod: `${namespace}/${name}` }),
      uid,
      name,
      workloadNamespace: namespace,
      trustDomain,
      identity: formatSpiffeId({ trustDomain, namespace, serviceAccount }),
      namespace: subject.netns,
      connections: this.connections,
    }
    this.#tunnels = new Tunnels(this.#context)
    this.#inbound = new InboundProxy(this.#context)
    this.#outbound = new OutboundProxy(this.#context, this.#tunnels)
    this.#passthrough = new PassthroughProxy(this.#context)
  }

  /** SPIFFE identity of the pod. */
  get identity(): string {
    return this.#context.identity
  }

  /** HBONE connections in both directions. */
  get hboneConnections(): number {
    return this.#inbound.peers + this.#tunnels.connections
  }

  /** Opens the listeners, then puts the rules in place. Throws if either fails; safe to repeat after a release. */
  async capture(): Promise<void> {
    if (this.#listeners.length === 0) this.#open()
    await installCapture(this.subject.netns, this.#context.settings.node)
    if (this.#disposed) this.#closeListeners()
  }

  /** First step of release: nothing new is captured; everything open, and peers with an older view, live on. */
  async beginRelease(): Promise<void> {
    await stopRedirecting(this.subject.netns, this.#context.settings.node)
    this.#inbound.shed()
    this.#tunnels.rekey()
  }

  /**
   * Waits until the last captured connection has ended and peers had time to hear of the release, then removes what is
   * left. `called off` aborts the wait; then nothing was removed and the result is false.
   */
  async finishRelease(calledOff: AbortSignal): Promise<boolean> {
    await quiet(this.#context, RELEASE_QUIET_MS, calledOff)
    await settled(
      () => this.connections.size === 0,
      (listener) => this.connections.onEnd(listener),
      calledOff,
    )
    if (calledOff.aborted) return false
    await removeCapture(this.subject.netns)
    this[Symbol.dispose]()
    return true
  }

  /**
   * Process shutdown: stops accepting, says GOAWAY, and settles when the last connection has ended or `deadline`
   * aborts, which cuts the rest. The rules stay: until a successor is there, new connections are refused.
   */
  async drain(deadline: AbortSignal): Promise<void> {
    this.#closeListeners()
    this.#inbound.drain()
    await settled(
      () => this.connections.size === 0,
      (listener) => this.connections.onEnd(listener),
      deadline,
    )
    this.connections.abortAll(drainClose())
  }

  /** Cuts everything at once; the rules stay. */
  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#closeListeners()
    for (const stop of this.#stopListening.splice(0)) stop()
    this.connections.abortAll(drainClose())
    this.#inbound[Symbol.dispose]()
    this.#tunnels[Symbol.dispose]()
    this.#context.certificates.forget(this.identity)
    this.subject.netns[Symbol.dispose]()
  }

  pauseAccepting(): void {
    for (const listener of this.#listeners) listener.pause()
  }

  resumeAccepting(): void {
    for (const listener of this.#listeners) listener.resume()
  }

  #open(): void {
    const { mesh, certificates, log } = this.#context
    const listen = (port: number, serve: (socket: Socket) => Promise<void>): void => {
      const onConnection = (socket: Socket): void => void serve(socket)
      const namespace = this.subject.netns
      this.#listeners.push(new Listener({ namespace, port, log, onConnection }))
    }
    try {
      listen(PORTS.outbound, (socket) => this.#outbound.serve(socket))
      listen(PORTS.inboundPlaintext, (socket) => this.#passthrough.serve(socket))
      listen(PORTS.hbone, (socket) => this.#inbound.serve(socket))
    } catch (error) {
      this.#closeListeners()
      throw error
    }
    if (this.#stopListening.length > 0) return
    certificates.want(this.identity)
    this.#stopListening.push(
      certificates.onRotate((identity, material) => {
        if (identity !== this.identity) return
        this.#inbound.rekey(material)
        this.#tunnels.rekey()
      }),
      mesh.onChange((change) => {
        if (change.policies.size > 0 || change.workloads.has(this.subject.uid))
          this.connections.recheck()
      }),
    )
  }

  #closeListeners(): void {
    for (const listener of this.#listeners.splice(0)) listener[Symbol.dispose]()
  }
}

function quiet(context: PodContext, ms: number, calledOff: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel()
      calledOff.removeEventListener('abort', done)
      resolve()
    }
    const timer = context.clock.after(ms, done)
    calledOff.addEventListener('abort', done)
    if (calledOff.aborted) done()
  })
}
