import { type ServerDuplexStream, status } from '@grpc/grpc-js'
import {
  type AgentMessage,
  type ControlMessage,
  type Pod,
  Pod_Wanted,
  type Report,
  Report_State,
} from '../../shared/proto/generated/node.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { WantedPod } from '../compile/enrollment.ts'
import { endCall } from '../end-call.ts'

export interface AgentStreamOptions {
  readonly call: ServerDuplexStream<AgentMessage, ControlMessage>
  readonly node: string
  readonly clock: Clock
  readonly log: Log
  readonly wantedPods: () => readonly WantedPod[]
  readonly report: (uid: string, captured: boolean) => void
  /** The agent said hello as the node that its token was made for. */
  readonly greeted: (stream: AgentStream) => void
  readonly closed: (stream: AgentStream) => void
}

export interface AgentStatus {
  readonly node: string
  readonly peer: string
  /** What the agent said last, by pod. */
  readonly reports: Readonly<Record<string, { readonly state: string; readonly error?: string }>>
}

const HELLO_MS = 10_000
const MOST_PODS = 1_000
const MOST_ERROR_CHARS = 1_000

/** The conversation with the agent of one node. */
export class AgentStream {
  readonly node: string
  readonly #options: AgentStreamOptions
  readonly #log: Log
  readonly #hello: Timer
  /** What the agent was told, as text, by uid; pods that are gone are not in it. */
  readonly #told = new Map<string, string>()
  readonly #reports = new Map<string, { readonly state: string; readonly error?: string }>()
  #greeted = false
  /** The node is being released on purpose, whatever is wanted. */
  #leaving = false
  /** Whether the agent has had the whole list. */
  #complete = false
  #blocked = false
  #over = false

  constructor(options: AgentStreamOptions) {
    this.node = options.node
    this.#options = options
    this.#log = options.log.child('enroll', { node: options.node })
    this.#hello = options.clock.after(HELLO_MS, () => {
      this.end(status.DEADLINE_EXCEEDED, 'no hello came')
    })
  }

  begin(): void {
    const { call } = this.#options
    call.on('data', (message: AgentMessage) => this.#message(message))
    call.on('drain', () => {
      this.#blocked = false
      this.update()
    })
    call.on('cancelled', () => this.#close())
    call.on('error', () => this.#close())
    call.on('end', () => {
      if (!this.#over) call.end()
      this.#close()
    })
    if (call.cancelled) this.#close()
  }

  /** Tells the agent what it does not know yet. */
  update(): void {
    if (!this.#greeted) return
    const pods = this.#options.wantedPods()
    const present = new Set(pods.map((pod) => pod.uid))
    const changed = pods.filter((pod) => this.#told.get(pod.uid) !== JSON.stringify(pod))
    const removed = [...this.#told.keys()].filter((uid) => !present.has(uid))
    for (let at = 0; ; at += MOST_PODS) {
      if (this.#over || this.#blocked) return
      const some = changed.slice(at, at + MOST_PODS)
      const snapshot = !this.#complete && at + MOST_PODS >= changed.length
      const gone = at === 0 ? removed : []
      if (some.length > 0 || gone.length > 0 || snapshot) this.#send(some, gone, snapshot)
      if (at + MOST_PODS >= changed.length) return
    }
  }

  end(code: status, details: string): void {
    if (this.#over) return
    endCall(this.#options.call, code, details)
    this.#close()
  }

  status(): AgentStatus {
    return {
      node: this.node,
      peer: this.#options.call.getPeer(),
      reports: Object.fromEntries(this.#reports),
    }
  }

  #send(pods: readonly WantedPod[], removed: readonly string[], snapshot: boolean): void {
    for (const pod of pods) this.#told.set(pod.uid, JSON.stringify(pod))
    for (const uid of removed) {
      this.#told.delete(uid)
      this.#reports.delete(uid)
    }
    if (snapshot) this.#complete = true
    const message = { pods: pods.map(toProto), removed: [...removed], snapshot }
    this.#blocked = !this.#options.call.write(message)
  }

  #message({ message }: AgentMessage): void {
    if (this.#over) return
    switch (message?.$case) {
      case 'hello':
        this.#leaving = message.value.leaving
        this.#helloFrom(message.value.node)
        return
      case 'report':
        if (this.#greeted) this.#report(message.value)
        else this.end(status.INVALID_ARGUMENT, 'the first message has to be hello')
        return
      case undefined:
        // A newer agent may say things that are not known here.
        if (!this.#greeted) this.end(status.INVALID_ARGUMENT, 'the first message has to be hello')
    }
  }

  #helloFrom(node: string): void {
    if (this.#greeted) {
      this.end(status.INVALID_ARGUMENT, 'hello was said already')
      return
    }
    if (node !== this.node) {
      this.#log.warn('agent claims another node', { claimed: node.slice(0, 253) })
      this.end(status.PERMISSION_DENIED, 'the token was made for another node')
      return
    }
    this.#hello.cancel()
    this.#greeted = true
    this.#options.greeted(this)
    this.update()
  }

  #report({ uid, state, error }: Report): void {
    const pod = this.#options.wantedPods().find((one) => one.uid === uid)
    if (pod === undefined) {
      this.#log.info('report about a pod that is not on this node', { uid: uid.slice(0, 500) })
      return
    }
    switch (state) {
      case Report_State.CAPTURED:
        this.#reports.set(uid, { state: 'captured' })
        // An agent that is behind; it is told otherwise already.
        if (pod.wanted === 'captured') this.#options.report(uid, true)
        return
      case Report_State.RELEASED:
        this.#reports.set(uid, { state: 'released' })
        if (pod.wanted === 'released' || this.#leaving) {
          this.#options.report(uid, false)
          return
        }
        this.#log.warn('agent gave up a pod that is wanted', { uid })
        this.#told.delete(uid)
        this.update()
        return
      case Report_State.ERROR: {
        const text = error.slice(0, MOST_ERROR_CHARS)
        this.#reports.set(uid, { state: 'error', error: text })
        this.#log.warn('agent reports an error', { uid, error: text })
        return
      }
      case Report_State.UNSPECIFIED:
      case Report_State.UNRECOGNIZED:
        this.#log.warn('report without a state', { uid })
    }
  }

  #close(): void {
    if (this.#over) return
    this.#over = true
    this.#hello.cancel()
    this.#options.closed(this)
  }
}

function toProto(pod: WantedPod): Pod {
  const { uid, namespace, name, serviceAccount, addresses, trustDomain } = pod
  const wanted = pod.wanted === 'captured' ? Pod_Wanted.CAPTURED : Pod_Wanted.RELEASED
  return { uid, namespace, name, serviceAccount, addresses: [...addresses], wanted, trustDomain }
}
