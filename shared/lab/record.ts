import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { startTimeOf } from '../linux/process.ts'
import { AmbitError, codeOf } from '../runtime/errors.ts'

/** One file per lab, `ID.json`, and one folder per lab for what its owner generates, `ID/`. */
export const RECORDS = '/run/ambit/lab'

/** No dash: the prefix of one lab must never begin the prefix of another. */
const ID = /^[a-z][a-z0-9]{0,19}$/

const RecordSchema = z.object({
  pid: z.int().positive(),
  startTime: z.string().regex(/^\d+$/),
  prefix: z.string().regex(/^ambit-[a-z][a-z0-9]{0,19}-$/),
})

/** Who owns a lab: the start time keeps a later process with the same pid from counting as the owner. */
export type LabRecord = Readonly<z.infer<typeof RecordSchema>>

export interface KnownLab {
  readonly id: string
  readonly record: LabRecord
  readonly ownerAlive: boolean
}

export const prefixOf = (id: string): string => `ambit-${id}-`

/** Throws `LAB_NAME` for an id that cannot be part of a namespace's name. */
export function checkId(id: string): string {
  if (ID.test(id)) return id
  throw new AmbitError('LAB_NAME', `lab name '${id}': use up to 20 of a-z and 0-9, a letter first`)
}

/** Writes the record of a lab that this process owns; throws `LAB_TAKEN` if there is one already. */
export function claim(id: string): LabRecord {
  const startTime = startTimeOf(process.pid)
  if (startTime === undefined) throw new AmbitError('LAB_RECORD', 'this process is not in /proc')
  const record: LabRecord = { pid: process.pid, startTime, prefix: prefixOf(id) }
  mkdirSync(RECORDS, { recursive: true, mode: 0o755 })
  const draft = join(RECORDS, `.${id}.${process.pid}`)
  writeFileSync(draft, `${JSON.stringify(record)}\n`, { mode: 0o644 })
  try {
    // A link, unlike a rename, never replaces what another owner has written.
    linkSync(draft, pathOf(id))
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    throw new AmbitError('LAB_TAKEN', `lab '${id}' is running: ${describeOwner(readRecord(id))}`)
  } finally {
    rmSync(draft, { force: true })
  }
  return record
}

export function forget(id: string): void {
  rmSync(pathOf(id), { force: true })
}

/** All recorded labs. What is no record is left alone: nobody could tell whose it is. */
export function knownLabs(): KnownLab[] {
  const labs: KnownLab[] = []
  for (const file of listing(RECORDS)) {
    const id = file.endsWith('.json') ? file.slice(0, -'.json'.length) : ''
    if (!ID.test(id)) continue
    const record = readRecord(id)
    if (record?.prefix === prefixOf(id)) {
      labs.push({ id, record, ownerAlive: startTimeOf(record.pid) === record.startTime })
    }
  }
  return labs
}

const pathOf = (id: string): string => join(RECORDS, `${id}.json`)

function listing(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function readRecord(id: string): LabRecord | undefined {
  try {
    return RecordSchema.parse(JSON.parse(readFileSync(pathOf(id), 'utf8')))
  } catch {
    return undefined
  }
}

const describeOwner = (record: LabRecord | undefined): string =>
  record === undefined ? `its record in ${RECORDS} is unreadable` : `process ${record.pid}`
