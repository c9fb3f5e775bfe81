import type { TlsMaterial } from '../../shared/identity/identity-material.ts'
import type { LogFormat, LogLevel } from '../../shared/runtime/log.ts'
import type { LinkSnapshot } from '../../shared/telemetry/link-table.ts'
import type { SharedBudget } from '../capture/descriptor-budget.ts'
import type { PodSockets } from '../capture/listener.ts'
import type { OpenConnection } from '../tunnel/connections.ts'
import type { NodeContext } from '../tunnel/pod-context.ts'

/**
 * What the main thread and a data-plane worker say to each other. Both are the same program, so nothing is validated
 * beyond types. Messages arrive in the order they were sent: what a pod needs is sent before the pod.
 */

/** What a worker is born with. */
export interface WorkerStart {
  /** The first is 1; also its slot of the descriptor budget. */
  readonly number: number
  readonly settings: NodeContext['settings']
  readonly logLevel: LogLevel
  readonly logFormat: LogFormat
  readonly descriptors: SharedBudget
}

/** A batch of resources, removals first. Every body has its own memory, or cloning would take what is around it. */
export interface MeshUpdate {
  readonly kind: 'addresses' | 'policies'
  readonly upserts: readonly { readonly name: string; readonly body: Uint8Array }[]
  readonly removed: readonly string[]
}

export interface WorkerCertificate extends TlsMaterial {
  readonly identity: string
  /** Milliseconds since the epoch. */
  readonly expiresMs: number
}

/** A captured pod as its servers see it. */
export interface PodOrder {
  /** Ours; two captures of one pod differ. */
  readonly id: number
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly trustDomain: string
  /** Where the namespace can be opened; it is the right one if it has this key. */
  readonly netnsPath: string
  readonly netnsKey: string
}

export type ToWorker =
  | MeshUpdate
  | { readonly kind: 'certificate'; readonly certificate: WorkerCertificate }
  /** The answer to `want-certificate` when there is none; without a refusal it is worth while to ask again. */
  | {
      readonly kind: 'no-certificate'
      readonly identity: string
      readonly refusal: Failure | undefined
    }
  /** GOAWAY to all HBONE peers; what is open goes on, and those who come back are served. */
  | { readonly kind: 'shed'; readonly pod: number }
  /** Ends every connection of a pod. */
  | { readonly kind: 'cut'; readonly pod: number }
  | { readonly kind: 'log-level'; readonly level: LogLevel }
  | { readonly kind: 'ask'; readonly id: number; readonly question: Question }

export type FromWorker =
  /** Once, when it can take messages. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'want-certificate'; readonly identity: string }
  /** This worker was the one that reached the descriptor limit. */
  | { readonly kind: 'limit-reached' }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answers[Question['of']] }
  | { readonly kind: 'failed'; readonly id: number; readonly failure: Failure }

export type Question =
  /** Serve this pod; the answer comes when its listeners accept. */
  | { readonly of: 'open'; readonly pod: PodOrder; readonly sockets: PodSockets }
  /** Take no connection or tunnel any more; what is open goes on. The answer gives the sockets back. */
  | { readonly of: 'stop-accepting'; readonly pod: number }
  /** Cut everything and forget the pod; the answer gives the sockets back. */
  | { readonly of: 'close'; readonly pod: number }
  /** Answered when the pod has no open connection in this worker. */
  | { readonly of: 'idle'; readonly pod: number }
  | { readonly of: 'metrics' }
  | { readonly of: 'links' }
  | { readonly of: 'connections' }
  /** The end of the worker: closes all pods and writes the last log lines. */
  | { readonly of: 'stop' }

export interface Answers {
  readonly open: undefined
  readonly 'stop-accepting': undefined
  readonly close: undefined
  /** Whether it had to be waited for. */
  readonly idle: 'already' | 'waited'
  /** OpenMetrics text. */
  readonly metrics: string
  readonly links: readonly LinkSnapshot[]
  readonly connections: ConnectionList
  readonly stop: undefined
}

export interface ConnectionList {
  readonly pods: readonly {
    readonly id: number
    readonly hbone: number
    readonly open: readonly ConnectionRow[]
  }[]
  /** Connections beyond the limit of one answer. */
  readonly omitted: number
}

export type ConnectionRow = Pick<
  OpenConnection,
  'direction' | 'source' | 'destination' | 'protocol'
>

/** An error, as it crosses threads. */
export interface Failure {
  readonly code: string
  readonly message: string
}
