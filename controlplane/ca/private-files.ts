import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { AmbitError, codeOf } from '../../shared/runtime/errors.ts'

/** Makes the directory for secrets, 0700, or checks that nobody else can enter the one there is. Throws `STATE_DIR`. */
export function openPrivateDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new AmbitError('STATE_DIR', `cannot make the directory ${path}`, { cause: error })
  }
  const stat = statSync(path)
  if (!stat.isDirectory()) throw new AmbitError('STATE_DIR', `${path} is not a directory`)
  refuseOpen(path, stat.mode, { code: 'STATE_DIR', wanted: '700' })
}

/** The text of a secret file, or undefined if there is none. Throws `SECRET_FILE` if others may read or write it. */
export function readPrivateFile(path: string): string | undefined {
  const text = readText(path)
  if (text === undefined) return undefined
  refuseOpen(path, statSync(path).mode, { code: 'SECRET_FILE', wanted: '600' })
  return text
}

/** The text of a file, or undefined if there is none. Throws `STATE_FILE`. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw new AmbitError('STATE_FILE', `cannot read ${path}`, { cause: error })
  }
}

/**
 * Writes a file that must not exist yet, whole or not at all, also through a crash. When another process was
 * faster, its text stays. Returns the text that is there now. Throws `STATE_FILE`.
 */
export function createFile(path: string, text: string, mode: number): string {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    writeDurably(temporary, text, mode)
    linkSync(temporary, path)
    syncDirectory(dirname(path))
    return text
  } catch (error) {
    const winner = codeOf(error) === 'EEXIST' ? readText(path) : undefined
    if (winner !== undefined) return winner
    throw new AmbitError('STATE_FILE', `cannot write ${path}`, { cause: error })
  } finally {
    rmSync(temporary, { force: true })
  }
}

function writeDurably(path: string, text: string, mode: number): void {
  const fd = openSync(path, 'wx', mode)
  try {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function refuseOpen(path: string, mode: number, expected: { code: string; wanted: string }): void {
  if ((mode & 0o077) === 0) return
  const found = (mode & 0o777).toString(8).padStart(4, '0')
  const { code, wanted } = expected
  throw new AmbitError(
    code,
    `${path} is open to others (mode ${found}); run: chmod ${wanted} ${path}`,
  )
}
