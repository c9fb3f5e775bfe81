import { formatSpiffeId } from '../shared/identity/spiffe.ts'
import type { Clock } from '../shared/runtime/clock.ts'
import { allowMigration } from './capture/migration.ts'
import type { PodSubject } from './capture/pod-subject.ts'
import { installCapture, isCaptured, removeCapture, stopRedirecting } from './capture/redirect.ts'
import type { DataPlane } from './data-plane/data-plane.ts'
import type { ServedPod } from './data-plane/served-pod.ts'

/** After the redirects are gone, peers may still hold an older view and call the HBONE port for this long. */
const RELEASE_QUIET_MS = 10_000

export interface PodProxyParts {
  readonly dataPlane: DataPlane
  readonly clock: Clock
  /** The name of this node, noted with the rules. */
  readonly node: string
}

/**
 * One captured pod: the rules that bring its connections to the data plane, and the order of things. Capture begins
 * with listeners and ends with them, so that no connection ever meets a rule without a listener while this process
 * lives.
 */
export class PodProxy implements Disposable {
  readonly subject: PodSubject
  readonly #parts: PodProxyParts
  #served: ServedPod | undefined
  /** Whether the namespace's setting is ours to restore. */
  #migrates = false
  #disposed = false

  /** Takes over the namespace handle of the subject. */
  constructor(parts: PodProxyParts, subject: PodSubject) {
    this.#parts = parts
    this.subject = subject
  }

  /** SPIFFE identity of the pod. */
  get identity(): string {
    return formatSpiffeId(this.subject)
  }

  /** As the data plane numbers it; undefined before capture. */
  get servedId(): number | undefined {
    return this.#served?.id
  }

  /** Opens the listeners, then puts the rules in place. Throws if either fails; safe to repeat after a release. */
  async capture(): Promise<void> {
    const { netns } = this.subject
    await this.#allowMigration()
    if (this.#served === undefined) {
      const served = await this.#parts.dataPlane.serve(this.subject)
      if (this.#disposed) {
        served[Symbol.dispose]()
        return
      }
      this.#served = served
    }
    await installCapture(netns, this.#parts.node)
  }

  /** Connections that wait for a worker that is lost are to move to the others. */
  async #allowMigration(): Promise<void> {
    if (this.#migrates) return
    const outcome = allowMigration(this.subject.netns)
    // Set by somebody else, unless an earlier process of ours has left it with its rules.
    this.#migrates =
      outcome === 'changed' || (outcome === 'was-allowed' && (await isCaptured(this.subject.netns)))
  }

  /** First step of release: nothing new is captured; everything open, and peers with an older view, live on. */
  async beginRelease(): Promise<void> {
    await stopRedirecting(this.subject.netns, this.#parts.node)
    this.#served?.shed()
  }

  /**
   * Waits until the last captured connection has ended and peers had time to hear of the release, then removes what is
   * left. `called off` aborts the wait; then nothing was removed and the result is false.
   */
  async finishRelease(calledOff: AbortSignal): Promise<boolean> {
    await quiet(this.#parts.clock, RELEASE_QUIET_MS, calledOff)
    await this.#served?.idle(calledOff)
    if (calledOff.aborted) return false
    await removeCapture(this.subject.netns, { keepMigration: !this.#migrates })
    this[Symbol.dispose]()
    return true
  }

  /** The first step of a shutdown: new connections are refused, what is open goes on. */
  async stopAccepting(): Promise<void> {
    await this.#served?.stopAccepting()
  }

  /**
   * Process shutdown: stops accepting, says GOAWAY, and settles when the last connection has ended or `deadline`
   * aborts, which cuts the rest. The rules stay: until a successor is there, new connections are refused.
   */
  async drain(deadline: AbortSignal): Promise<void> {
    await this.#served?.drain(deadline)
  }

  /** Cuts everything at once; the rules stay. */
  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#served?.[Symbol.dispose]()
    this.subject.netns[Symbol.dispose]()
  }
}

function quiet(clock: Clock, ms: number, calledOff: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel()
      calledOff.removeEventListener('abort', done)
      resolve()
    }
    const timer = clock.after(ms, done)
    calledOff.addEventListener('abort', done)
    if (calledOff.aborted) done()
  })
}
