import { MeshStore, type Rejected, type Upsert } from '../../shared/mesh/store.ts'
import type { MeshUpdate } from './messages.ts'

/** Resources of one replayed update, in bytes; a single larger one goes alone. */
const REPLAY_BYTES = 1_048_576

interface Kept {
  readonly body: Uint8Array
  readonly accepted: boolean
}

/**
 * The mesh as the control plane describes it: read here for the control thread, and passed on as it came to the
 * workers, each of which reads it for itself. Keeps what a worker that starts later needs to get to the same state.
 */
export class MeshSource {
  readonly store = new MeshStore()
  /** In order of arrival, which decides between resources that claim the same. */
  readonly #kept: Readonly<Record<MeshUpdate['kind'], Map<string, Kept>>> = {
    policies: new Map(),
    addresses: new Map(),
  }
  readonly #listeners = new Set<(update: MeshUpdate) => void>()

  /** Applies `istio.workload.Address` resources, removals first. */
  applyAddresses(upserts: readonly Upsert[], removed: readonly string[]): Rejected[] {
    return this.#apply('addresses', upserts, removed)
  }

  /** Applies `istio.security.Authorization` resources, removals first. */
  applyPolicies(upserts: readonly Upsert[], removed: readonly string[]): Rejected[] {
    return this.#apply('policies', upserts, removed)
  }

  /** Calls `listener` after every batch. */
  onUpdate(listener: (update: MeshUpdate) => void): void {
    this.#listeners.add(listener)
  }

  /** Everything that is in force. Policies come before addresses, so that nothing is there before what protects it. */
  *replay(): Iterable<MeshUpdate> {
    for (const kind of ['policies', 'addresses'] as const) {
      let upserts: { readonly name: string; readonly body: Uint8Array }[] = []
      let bytes = 0
      for (const [name, { body }] of this.#kept[kind]) {
        if (bytes > 0 && bytes + body.length > REPLAY_BYTES) {
          yield { kind, upserts, removed: [] }
          upserts = []
          bytes = 0
        }
        upserts.push({ name, body })
        bytes += body.length
      }
      if (upserts.length > 0) yield { kind, upserts, removed: [] }
    }
  }

  #apply(
    kind: MeshUpdate['kind'],
    from: readonly Upsert[],
    removed: readonly string[],
  ): Rejected[] {
    // A body of its own: those that arrive are parts of a message, all of which would be kept, and sent, with it.
    const upserts = from.map(({ name, body }) => ({ name, body: new Uint8Array(body) }))
    const rejected =
      kind === 'addresses'
        ? this.store.applyAddresses(upserts, removed)
        : this.store.applyPolicies(upserts, removed)
    const refused = new Set(rejected.map(({ name }) => name))
    for (const name of removed) this.#kept[kind].delete(name)
    for (const { name, body } of upserts) this.#keep(kind, name, body, !refused.has(name))
    for (const listener of this.#listeners) listener({ kind, upserts, removed })
    return rejected
  }

  /**
   * What was refused changes nothing; only a policy that was never accepted counts, as one that cannot be enforced and
   * therefore denies.
   */
  #keep(kind: MeshUpdate['kind'], name: string, body: Uint8Array, accepted: boolean): void {
    const kept = this.#kept[kind]
    if (!accepted && (kind === 'addresses' || kept.get(name)?.accepted === true)) return
    kept.delete(name)
    kept.set(name, { body, accepted })
  }
}
