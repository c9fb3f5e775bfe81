import { join } from 'node:path'
import { z } from 'zod'
import type { VipAssignment } from '../compile/vips.ts'
import { StateFile } from './state-file.ts'

const VipsFile = z.strictObject({
  version: z.literal(1),
  assignments: z.array(z.strictObject({ service: z.string().min(1), address: z.string().min(1) })),
})

/** The addresses that services were given, kept on disk so that a restart gives the same. */
export class VipFile {
  readonly #file: StateFile<typeof VipsFile>
  #written = ''

  constructor(stateDirectory: string) {
    this.#file = new StateFile(
      join(stateDirectory, 'vips.json'),
      VipsFile,
      'Restore it from a backup. If there is none, delete it: services are then given addresses anew.',
    )
  }

  async load(): Promise<readonly VipAssignment[]> {
    const assignments = (await this.#file.read())?.assignments ?? []
    this.#written = JSON.stringify(assignments)
    return assignments
  }

  /** Writes them unless they are what is there. */
  async update(assignments: readonly VipAssignment[]): Promise<void> {
    const text = JSON.stringify(assignments)
    if (text === this.#written) return
    await this.#file.write({ version: 1, assignments: assignments.map((one) => ({ ...one })) })
    this.#written = text
  }
}
