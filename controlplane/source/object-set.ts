import { isDeepStrictEqual } from 'node:util'
import type { MeshObject } from '../kinds/registry.ts'
import type { ObjectEvent, SourceProblem } from './events.ts'
import type { Claim, ObjectFile } from './object-file.ts'

interface HeldFile {
  readonly claims: ReadonlyMap<string, Claim>
  readonly unused: ReadonlyMap<string, number>
  readonly problems: readonly SourceProblem[]
}

/**
 * The objects of all files together, and what is in force. Of an object that several files name, the first file by
 * path wins. What is invalid never replaces what was valid: the previous version stays in force until a valid one
 * comes, or until no file names the object any more.
 */
export class ObjectSet {
  readonly #files = new Map<string, HeldFile>()
  readonly #inForce = new Map<string, MeshObject>()
  /** The files that name an object. */
  readonly #claimants = new Map<string, Set<string>>()
  readonly #dirty = new Set<string>()

  /** Takes the new content of a file. */
  put(file: string, content: ObjectFile): void {
    const before = this.#files.get(file)
    if (content.broken && before !== undefined) {
      this.#files.set(file, { ...before, problems: content.problems })
      return
    }
    const claims = new Map<string, Claim>()
    for (const claim of content.claims) {
      const object = claim.object ?? before?.claims.get(claim.key)?.object
      claims.set(claim.key, { ...claim, object })
    }
    this.#replace(file, { claims, unused: content.unused, problems: content.problems })
  }

  /** The file is there but cannot be read: its objects stay in force. */
  hold(file: string, reason: string): void {
    const problem = { file, document: undefined, object: undefined, path: undefined, reason }
    const before = this.#files.get(file) ?? { claims: new Map(), unused: new Map() }
    this.#files.set(file, { ...before, problems: [problem] })
  }

  delete(file: string): void {
    this.#replace(file, undefined)
  }

  files(): IterableIterator<string> {
    return this.#files.keys()
  }

  /** Whether a file has objects in this set. */
  hasObjects(file: string): boolean {
    return (this.#files.get(file)?.claims.size ?? 0) > 0
  }

  /** What changed in force since the last call. */
  takeEvents(): ObjectEvent[] {
    const events: ObjectEvent[] = []
    for (const key of this.#dirty) {
      const claimants = this.#claimantsOf(key)
      const held = this.#inForce.get(key)
      const next = claimants.find(({ claim }) => claim.object !== undefined)?.claim.object
      if (next !== undefined) {
        if (isDeepStrictEqual(held, next)) continue
        this.#inForce.set(key, next)
        events.push({ type: 'put', object: next })
      } else if (held !== undefined && claimants.length === 0) {
        this.#inForce.delete(key)
        const { kind, metadata } = held
        events.push({
          type: 'delete',
          ref: { kind, namespace: metadata.namespace, name: metadata.name },
        })
      }
    }
    this.#dirty.clear()
    return events
  }

  /** Faults in files, and objects that several files name. */
  problems(): SourceProblem[] {
    const all = [...this.#files.keys()]
      .sort()
      .flatMap((file) => this.#files.get(file)?.problems ?? [])
    for (const [key, files] of this.#claimants) {
      if (files.size < 2) continue
      const [winner, ...losers] = this.#claimantsOf(key)
      for (const { file, claim } of losers) {
        const reason = `also in ${winner?.file ?? 'another file'}, which is used`
        all.push({ file, document: claim.document, object: key, path: undefined, reason })
      }
    }
    return all
  }

  /** Objects of kinds that are not used, by `apiVersion Kind`. */
  unused(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { unused } of this.#files.values()) {
      for (const [type, count] of unused) counts.set(type, (counts.get(type) ?? 0) + count)
    }
    return counts
  }

  #claimantsOf(key: string): { file: string; claim: Claim }[] {
    const files = [...(this.#claimants.get(key) ?? [])].sort()
    return files.flatMap((file) => {
      const claim = this.#files.get(file)?.claims.get(key)
      return claim === undefined ? [] : [{ file, claim }]
    })
  }

  #replace(file: string, next: HeldFile | undefined): void {
    for (const key of this.#files.get(file)?.claims.keys() ?? []) {
      this.#dirty.add(key)
      const files = this.#claimants.get(key)
      files?.delete(file)
      if (files?.size === 0) this.#claimants.delete(key)
    }
    if (next === undefined) {
      this.#files.delete(file)
      return
    }
    this.#files.set(file, next)
    for (const key of next.claims.keys()) {
      this.#dirty.add(key)
      const files = this.#claimants.get(key)
      if (files === undefined) this.#claimants.set(key, new Set([file]))
      else files.add(file)
    }
  }
}
