import { evaluate } from '../../shared/authz/engine.ts'
import type { ConnectionFacts, Decision } from '../../shared/authz/model.ts'
import type { MeshStore } from '../../shared/mesh/store.ts'
import { PolicyClose } from './failure.ts'

/** A connection in progress, as the parts that may end it see it. */
export interface OpenConnection {
  /** Ends it at once; both sides see a reset. */
  readonly abort: AbortController
  readonly direction: 'inbound' | 'outbound'
  readonly source: string
  readonly destination: string
  readonly protocol: 'HBONE' | 'TCP'
  /** What policies are asked about; undefined where ours do not apply (outbound). */
  readonly facts: ConnectionFacts | undefined
}

/** The open connections of one pod: counted for draining, re-judged when policies or the workload change. */
export class OpenConnections {
  readonly #uid: string
  readonly #mesh: MeshStore
  readonly #open = new Set<OpenConnection>()
  readonly #listeners = new Set<() => void>()

  constructor(uid: string, mesh: MeshStore) {
    this.#uid = uid
    this.#mesh = mesh
  }

  get size(): number {
    return this.#open.size
  }

  list(): readonly OpenConnection[] {
    return [...this.#open]
  }

  /** Register before judging, so that no change of policy slips in between. The result ends it. */
  add(connection: OpenConnection): () => void {
    this.#open.add(connection)
    return () => {
      if (!this.#open.delete(connection)) return
      for (const listener of this.#listeners) listener()
    }
  }

  /** Calls `listener` after each connection that ended. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  judge(facts: ConnectionFacts): Decision {
    const workload = this.#mesh.workloadByUid(this.#uid)
    if (workload === undefined) return { ...UNKNOWN_WORKLOAD }
    return evaluate(this.#mesh.policiesFor(workload), facts)
  }

  /** Closes what is now denied. */
  recheck(): void {
    // A workload that left the mesh's view keeps its connections; new ones are denied.
    if (this.#mesh.workloadByUid(this.#uid) === undefined) return
    for (const connection of this.#open) {
      if (connection.facts === undefined) continue
      const decision = this.judge(connection.facts)
      if (decision.verdict === 'deny') {
        connection.abort.abort(new PolicyClose(decision.reason, decision.policy))
      }
    }
  }

  abortAll(cause: Error): void {
    for (const connection of this.#open) connection.abort.abort(cause)
  }
}

const UNKNOWN_WORKLOAD = {
  verdict: 'deny',
  reason: 'policy-missing',
  policy: undefined,
  rule: undefined,
  dryRun: [],
} as const satisfies Decision
