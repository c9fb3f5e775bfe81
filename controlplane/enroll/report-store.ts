import { join } from 'node:path'
import { z } from 'zod'
import { StateFile } from './state-file.ts'

const CapturedFile = z.strictObject({
  version: z.literal(1),
  captured: z.array(z.string().min(1)),
})

/**
 * Which pods were reported as captured, kept on disk. It is written before anything is announced because of it, so
 * that no restart ever takes a workload back to plaintext.
 */
export class ReportStore {
  readonly #file: StateFile<typeof CapturedFile>
  #captured = new Set<string>()

  constructor(stateDirectory: string) {
    this.#file = new StateFile(
      join(stateDirectory, 'captured.json'),
      CapturedFile,
      'Restore it from a backup. If there is none, delete it: every pod then counts as not captured, and peers reach ' +
        'it in plaintext, until the agent of its node reports again.',
    )
  }

  /** Reads what an earlier process left. */
  async load(): Promise<ReadonlySet<string>> {
    const content = await this.#file.read()
    this.#captured = new Set(content?.captured)
    return this.#captured
  }

  /** Settles when all changes are on disk; if it rejects, none is in force. */
  async update(changes: ReadonlyMap<string, boolean>): Promise<void> {
    const next = new Set(this.#captured)
    for (const [uid, captured] of changes) {
      if (captured) next.add(uid)
      else next.delete(uid)
    }
    if (next.size === this.#captured.size && [...next].every((uid) => this.#captured.has(uid)))
      return
    await this.#file.write({ version: 1, captured: [...next].sort() })
    this.#captured = next
  }
}
