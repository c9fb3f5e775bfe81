import type { MeshObject, ObjectRef } from '../kinds/registry.ts'

export type ObjectEvent =
  | { readonly type: 'put'; readonly object: MeshObject }
  | { readonly type: 'delete'; readonly ref: ObjectRef }

/** Takes events in order; never throws. Called with real changes only. */
export type ObjectSink = (batch: readonly ObjectEvent[]) => void

/** Where objects come from. */
export interface ObjectSource extends AsyncDisposable {
  /**
   * Hands over everything there is as the first batch, and every change after it. Settles when the first batch was
   * taken; rejects if there is nothing that could be read from.
   */
  start(sink: ObjectSink): Promise<void>
  /** What is wrong with the objects now. */
  problems(): readonly SourceProblem[]
}

export interface SourceProblem {
  /** Relative to the source's directory. */
  readonly file: string
  /** From 1; undefined if the whole file is meant. */
  readonly document: number | undefined
  /** `Kind/namespace/name`, as far as known. */
  readonly object: string | undefined
  /** Where in the object, `spec.rules[0].to`. */
  readonly path: string | undefined
  readonly reason: string
}
