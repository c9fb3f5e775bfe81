import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { z } from 'zod'
import { AmbitError, codeOf } from '../../shared/runtime/errors.ts'

/**
 * One JSON value on disk that is whole at any time: it is written beside its place, flushed and renamed. A process
 * or machine that dies leaves the old value or the new one.
 */
export class StateFile<S extends z.ZodType> {
  readonly path: string
  readonly #schema: S
  readonly #advice: string

  /** `advice`: what a person should do about a corrupt file, and what losing it means. */
  constructor(path: string, schema: S, advice: string) {
    this.path = path
    this.#schema = schema
    this.#advice = advice
  }

  /** Undefined if there is no file yet. Rejects with `STATE_CORRUPT` or `STATE_READ`, which name the file. */
  async read(): Promise<z.output<S> | undefined> {
    let text: string
    try {
      text = await readFile(this.path, 'utf8')
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw new AmbitError('STATE_READ', `cannot read ${this.path}`, { cause: error })
    }
    const parsed = this.#schema.safeParse(jsonOf(text))
    if (parsed.success) return parsed.data
    throw new AmbitError('STATE_CORRUPT', `${this.path} is corrupt. ${this.#advice}`)
  }

  /** Settled only when the value is on disk. Calls must not overlap. */
  async write(value: z.input<S>): Promise<void> {
    const temporary = `${this.path}.${randomBytes(6).toString('hex')}.tmp`
    try {
      const file = await open(temporary, 'wx', 0o600)
      try {
        await file.writeFile(`${JSON.stringify(value)}\n`)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, this.path)
      await syncDirectory(dirname(this.path))
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined)
      throw new AmbitError('STATE_WRITE', `cannot write ${this.path}`, { cause: error })
    }
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
