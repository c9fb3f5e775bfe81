import type { Clock, Timer } from '../shared/runtime/clock.ts'
import { describeError } from '../shared/runtime/errors.ts'
import type { Log } from '../shared/runtime/log.ts'
import type { CompileResult, Compiler } from './compile/compiler.ts'
import type { MeshOptions } from './compile/mesh-options.ts'
import { AUTHORIZATION_TYPE } from './compile/resource.ts'
import { podUid } from './compile/workload.ts'
import type { ReportStore } from './enroll/report-store.ts'
import type { VipFile } from './enroll/vip-file.ts'
import type { ObjectEvent } from './source/events.ts'
import type { ResourceStore } from './xds/resource-store.ts'

export interface PublisherOptions {
  readonly mesh: MeshOptions
  readonly compiler: Compiler
  readonly store: ResourceStore
  readonly reports: ReportStore
  readonly vips: VipFile
  readonly clock: Clock
  readonly log: Log
  /** Called after the resources are announced. */
  readonly nodesChanged: (nodes: ReadonlySet<string>) => void
}

const RETRY_MS = 1_000

/**
 * The one way into the compiler. Changes of objects are announced at once; reports of node agents only when they are
 * on disk, and in their order. If the disk fails, reports wait and everything else goes on.
 */
export class Publisher implements Disposable {
  readonly #options: PublisherOptions
  readonly #log: Log
  /** Reports that are not on disk yet; the last one of a pod counts. */
  #reports = new Map<string, boolean>()
  /** Pods that are gone, whose entries on disk can go. */
  #cleared = new Set<string>()
  #vipsChanged = false
  #writing: Promise<void> | undefined
  #retry: Timer | undefined
  #closed = false

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#log = options.log.child('publisher')
  }

  /** Takes objects from the source. */
  objects(events: readonly ObjectEvent[]): void {
    const result = this.#options.compiler.apply(events)
    // Also what is being written: it was said about a pod that is gone.
    for (const uid of [...result.capturedCleared, ...this.#deleted(events)]) {
      this.#reports.delete(uid)
      this.#cleared.add(uid)
    }
    this.#vipsChanged = true
    this.#announce(result)
    this.#write()
  }

  /** The agent of its node says that a pod is captured, or is to be announced as plain. */
  report(uid: string, captured: boolean): void {
    this.#reports.set(uid, captured)
    this.#write()
  }

  /** Forgets reports about pods that do not exist; for the start, after the first objects. */
  forgetUnknown(): void {
    for (const uid of this.#options.compiler.dropUnknownCaptured()) this.#cleared.add(uid)
    this.#write()
  }

  /** Settles when what was given so far is on disk, or cannot be written now. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
  }

  [Symbol.dispose](): void {
    this.#closed = true
    this.#retry?.cancel()
  }

  #deleted(events: readonly ObjectEvent[]): string[] {
    return events.flatMap((event) =>
      event.type === 'delete' && event.ref.kind === 'Pod'
        ? podUid(this.#options.mesh, { metadata: event.ref })
        : [],
    )
  }

  #write(): void {
    if (this.#writing !== undefined || this.#retry !== undefined || this.#closed) return
    if (this.#reports.size === 0 && this.#cleared.size === 0 && !this.#vipsChanged) return
    this.#writing = this.#flush().finally(() => {
      this.#writing = undefined
      this.#write()
    })
  }

  async #flush(): Promise<void> {
    const { compiler, reports, vips, clock } = this.#options
    const given = this.#reports
    const cleared = this.#cleared
    this.#reports = new Map()
    this.#cleared = new Set()
    this.#vipsChanged = false
    try {
      await vips.update(compiler.vipAssignments())
      await reports.update(new Map([...[...cleared].map((uid) => [uid, false] as const), ...given]))
    } catch (error) {
      this.#log.error('state is not written, so reports of nodes wait', {
        error: describeError(error),
        waiting: given.size,
        retry_ms: RETRY_MS,
      })
      this.#giveBack(given, cleared)
      this.#retry = clock.after(RETRY_MS, () => {
        this.#retry = undefined
        this.#write()
      })
      return
    }
    for (const [uid, captured] of given) {
      // The pod may have gone while its report was written.
      if (this.#cleared.has(uid)) continue
      this.#announce(compiler.setCaptured(uid, captured))
      this.#log.info(captured ? 'pod captured' : 'pod released', { uid })
    }
  }

  #giveBack(given: ReadonlyMap<string, boolean>, cleared: ReadonlySet<string>): void {
    for (const uid of cleared) if (!given.has(uid)) this.#cleared.add(uid)
    for (const [uid, captured] of given) {
      if (!this.#reports.has(uid) && !this.#cleared.has(uid)) this.#reports.set(uid, captured)
    }
    this.#vipsChanged = true
  }

  #announce({ delta, nodesChanged, reports }: CompileResult): void {
    this.#options.store.apply(delta)
    for (const { object, ...rest } of reports)
      this.#log.warn('object in part without effect', { ...object, ...rest })
    if (delta.changed.length + delta.removed.length > 0) {
      const of = (names: readonly { readonly typeUrl: string }[]) => {
        const policies = names.filter(({ typeUrl }) => typeUrl === AUTHORIZATION_TYPE).length
        return { addresses: names.length - policies, policies }
      }
      this.#log.debug('announced', { changed: of(delta.changed), removed: of(delta.removed) })
    }
    if (nodesChanged.size > 0) this.#options.nodesChanged(nodesChanged)
  }
}
