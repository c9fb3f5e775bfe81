import type { MeshStore } from '../../shared/mesh/store.ts'
import { Backoff } from '../../shared/runtime/backoff.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import type { Component } from '../../shared/runtime/lifecycle.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { CaptureMetrics } from '../../shared/telemetry/capture-metrics.ts'
import type { PodSubject } from '../capture/pod-subject.ts'
import { isCaptured, removeCapture } from '../capture/redirect.ts'
import type { PodProxy } from '../pod-proxy.ts'
import type { Finding, NamespaceFinder } from './namespace-finder.ts'

/** A pod of this node, as the control plane wants it. */
export interface WantedPod {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
  readonly trustDomain: string
  /** Canonical text. */
  readonly addresses: readonly string[]
  readonly wanted: 'captured' | 'released'
}

export type PodState = 'captured' | 'released' | 'error'

export type Report = (uid: string, state: PodState, error?: string) => void

export interface EnrollmentOptions {
  readonly finder: NamespaceFinder
  readonly mesh: MeshStore
  readonly clock: Clock
  readonly log: Log
  readonly makeProxy: (subject: PodSubject) => PodProxy
  readonly metrics: CaptureMetrics
}

interface Member {
  pod: WantedPod | undefined
  proxy: PodProxy | undefined
  /** Aborts a release that waits for its last connections. */
  release: AbortController | undefined
  /** No namespace owns its address yet. */
  absent: boolean
  /** The namespace in which leftovers of an earlier process were looked for. */
  cleanKey: string
  /** What was last said to the control plane, so that it is said once. */
  reported: string
  /** Steps of one pod follow each other. */
  busy: boolean
  again: boolean
  readonly backoff: Backoff
  retry: Timer | undefined
}

/** More pods than any node runs; beyond it new ones are refused with an error report. */
const MAX_PODS = 2_000

/**
 * Brings every pod of the node to the state that the control plane wants, one pod at a time and all pods at once:
 * finds its namespace, captures it, lets it go, follows a namespace that is made anew. Keeps going while the control
 * plane is away.
 */
export class Enrollment implements Component {
  readonly name = 'enrollment'
  readonly #options: EnrollmentOptions
  readonly #members = new Map<string, Member>()
  /** Tells the control plane; set by whoever holds the stream to it. */
  report: Report = () => undefined
  #stopListening: (() => void) | undefined
  #stopped = false

  constructor(options: EnrollmentOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { finder, mesh } = this.#options
    finder.onChange(() => this.#reconcileAll())
    finder.start()
    this.#stopListening = mesh.onChange((change) => {
      for (const uid of change.workloads) if (this.#members.has(uid)) this.#reconcile(uid)
    })
    await Promise.resolve()
  }

  proxies(): readonly PodProxy[] {
    return [...this.#members.values()].flatMap((member) =>
      member.proxy === undefined ? [] : [member.proxy],
    )
  }

  /** Pods that are here, wanted and not captured. */
  get pending(): number {
    return [...this.#members.values()].filter(
      (member) => member.pod?.wanted === 'captured' && !member.absent && member.proxy === undefined,
    ).length
  }

  /** New orders; with `snapshot` the list is complete and pods that are not named are gone. */
  update(pods: readonly WantedPod[], removed: readonly string[], snapshot: boolean): void {
    const named = new Set(pods.map((pod) => pod.uid))
    for (const pod of pods) {
      if (this.#members.has(pod.uid) || this.#members.size < MAX_PODS)
        this.#member(pod.uid).pod = pod
      else this.report(pod.uid, 'error', `this node has ${MAX_PODS} pods already`)
    }
    const gone = snapshot ? [...this.#members.keys()].filter((uid) => !named.has(uid)) : removed
    for (const uid of gone) {
      const member = this.#members.get(uid)
      if (member === undefined) continue
      member.pod = undefined
      // The control plane forgets what it was told about a pod that is gone; a successor is reported anew.
      member.reported = ''
    }
    this.#options.finder.hurry()
    this.#options.finder.scan()
    for (const uid of [...named, ...gone]) this.#reconcile(uid)
  }

  /** No pod is captured or let go any more, and none of them takes new connections. */
  async stopAccepting(): Promise<void> {
    this.#stop()
    await Promise.all(this.proxies().map((proxy) => proxy.stopAccepting()))
  }

  async drain(deadline: AbortSignal): Promise<void> {
    this.#stop()
    await Promise.all(this.proxies().map((proxy) => proxy.drain(deadline)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop()
    for (const proxy of this.proxies()) proxy[Symbol.dispose]()
    this.#members.clear()
    await Promise.resolve()
  }

  #stop(): void {
    this.#stopped = true
    this.#stopListening?.()
    this.#options.finder[Symbol.dispose]()
    for (const member of this.#members.values()) {
      member.retry?.cancel()
      member.release?.abort()
    }
  }

  #member(uid: string): Member {
    const known = this.#members.get(uid)
    if (known !== undefined) return known
    const member: Member = {
      pod: undefined,
      proxy: undefined,
      release: undefined,
      absent: false,
      cleanKey: '',
      reported: '',
      busy: false,
      again: false,
      backoff: new Backoff({ firstMs: 100, maxMs: 5_000 }),
      retry: undefined,
    }
    this.#members.set(uid, member)
    return member
  }

  #reconcileAll(): void {
    for (const uid of this.#members.keys()) this.#reconcile(uid)
  }

  /** Runs the steps of one pod until nothing is left to do; a call meanwhile makes it look again. */
  #reconcile(uid: string): void {
    const member = this.#members.get(uid)
    if (member === undefined || this.#stopped) return
    member.again = true
    if (member.busy) return
    member.busy = true
    void this.#settle(uid, member)
  }

  async #settle(uid: string, member: Member): Promise<void> {
    while (member.again && !this.#stopped) {
      member.again = false
      try {
        await this.#step(uid, member)
        member.backoff.reset()
      } catch (error) {
        this.#failed(uid, member, error)
      }
    }
    member.busy = false
    this.#options.metrics.active(this.proxies().length)
    this.#options.metrics.pending(this.pending)
    if (member.pod === undefined && member.proxy === undefined) this.#members.delete(uid)
  }

  #failed(uid: string, member: Member, error: unknown): void {
    const text = describeError(error)
    this.#options.log.error('cannot enroll', { uid, error: text })
    this.#say(uid, member, 'error', text)
    member.retry?.cancel()
    member.retry = this.#options.clock.after(member.backoff.nextMs(), () => this.#reconcile(uid))
  }

  async #step(uid: string, member: Member): Promise<void> {
    const { pod } = member
    if (pod === undefined) {
      await this.#letGo(uid, member)
      return
    }
    const finding = this.#options.finder.find(pod.addresses)
    member.absent = finding.kind === 'missing'
    if (finding.kind === 'conflict') {
      const error = `the address ${pod.addresses.join(', ')} is owned by several namespaces: ${finding.names.join(', ')}`
      this.#options.log.error('namespace conflict, none is enrolled', {
        uid,
        namespaces: finding.names,
      })
      this.#say(uid, member, 'error', error)
      return
    }
    this.#dropReplaced(uid, member, finding)
    if (pod.wanted === 'captured') await this.#capture(uid, member, pod, finding)
    else await this.#release(uid, member, finding)
  }

  /** A namespace that is gone, or made anew under the same address, takes its connections with it. */
  #dropReplaced(uid: string, member: Member, finding: Finding): void {
    const { proxy } = member
    if (proxy === undefined) return
    if (finding.kind === 'found' && finding.key === proxy.subject.netns.key) return
    this.#options.log.info('namespace is gone', { uid })
    member.release?.abort()
    member.release = undefined
    this.#drop(member)
  }

  #drop(member: Member): void {
    member.proxy?.[Symbol.dispose]()
    member.proxy = undefined
    this.#options.metrics.stopped()
  }

  async #capture(uid: string, member: Member, pod: WantedPod, finding: Finding): Promise<void> {
    member.release?.abort()
    const proxy = member.proxy ?? this.#newProxy(pod, finding)
    if (proxy === undefined) return
    if (member.proxy === undefined || member.release !== undefined) {
      member.release = undefined
      try {
        await proxy.capture()
      } catch (error) {
        if (member.proxy === undefined) proxy[Symbol.dispose]()
        throw error
      }
      if (this.#stopped) {
        proxy[Symbol.dispose]()
        return
      }
      if (member.proxy === undefined) this.#options.metrics.started()
      member.proxy = proxy
      this.#options.log.info('captured', { uid, identity: proxy.identity })
    }
    this.#say(uid, member, 'captured')
  }

  #newProxy(pod: WantedPod, finding: Finding): PodProxy | undefined {
    const netns = finding.kind === 'found' ? this.#options.finder.open(finding) : undefined
    if (netns === undefined) return undefined
    const { uid, name, namespace, serviceAccount, trustDomain } = pod
    return this.#options.makeProxy({ uid, name, namespace, serviceAccount, trustDomain, netns })
  }

  /**
   * The pod leaves the mesh. The control plane announces it as plain after our report; only then the redirects go, so
   * that nothing passes in plaintext while peers are told to expect HBONE.
   */
  async #release(uid: string, member: Member, finding: Finding): Promise<void> {
    this.#say(uid, member, 'released')
    const announced = this.#options.mesh.workloadByUid(uid)
    if (announced === undefined || announced.tunnelProtocol === 'HBONE') return
    if (member.proxy === undefined) await this.#removeLeftovers(member, finding)
    else if (member.release === undefined) await this.#startRelease(uid, member, member.proxy)
  }

  async #startRelease(uid: string, member: Member, proxy: PodProxy): Promise<void> {
    const release = new AbortController()
    member.release = release
    await proxy.beginRelease()
    this.#options.log.info('released, open connections go on', { uid })
    void proxy.finishRelease(release.signal).then(
      (finished) => {
        if (!finished || member.proxy !== proxy) return
        this.#drop(member)
        member.release = undefined
        this.#reconcile(uid)
      },
      (error: unknown) => {
        this.#options.log.error('release did not finish', { uid, error: describeError(error) })
      },
    )
  }

  /** Rules of an earlier process, in a pod that is not wanted any more. */
  async #removeLeftovers(member: Member, finding: Finding): Promise<void> {
    if (finding.kind !== 'found' || finding.key === member.cleanKey) return
    const netns = this.#options.finder.open(finding)
    if (netns === undefined) return
    try {
      if (await isCaptured(netns)) await removeCapture(netns)
      member.cleanKey = finding.key
    } finally {
      netns[Symbol.dispose]()
    }
  }

  /** The pod's object is gone. Its namespace may live on, and is let go like a released one. */
  async #letGo(uid: string, member: Member): Promise<void> {
    const { proxy } = member
    if (proxy === undefined) return
    if (!this.#options.finder.has(proxy.subject.netns.key)) {
      member.release?.abort()
      this.#drop(member)
      return
    }
    if (member.release === undefined) await this.#startRelease(uid, member, proxy)
  }

  #say(uid: string, member: Member, state: PodState, error?: string): void {
    const said = `${state} ${error ?? ''}`
    if (said === member.reported) return
    member.reported = said
    this.report(uid, state, error)
  }
}
