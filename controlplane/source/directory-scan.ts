import { constants } from 'node:fs'
import { open, readdir, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { codeOf, describeError } from '../../shared/runtime/errors.ts'

export const MOST_BYTES = 10 * 1024 * 1024
const MOST_FILES = 10_000
const MOST_DIRECTORIES = 1_000

/** A directory at one moment. */
export interface Scan {
  /** Absolute paths, each with its inode, as another directory may take a path's place. */
  readonly directories: ReadonlyMap<string, string>
  /** Object files by path relative to the root, with a stamp that changes when the content may have. */
  readonly files: ReadonlyMap<string, string>
  /** Paths that are there but cannot be looked at, and why. */
  readonly unreadable: ReadonlyMap<string, string>
}

/** Lists the object files under `root`. Rejects if the root itself cannot be listed. */
export async function scanDirectory(root: string): Promise<Scan> {
  const scan = {
    directories: new Map<string, string>(),
    files: new Map<string, string>(),
    unreadable: new Map<string, string>(),
  }
  const realRoot = await realpath(root)
  const pending = ['']
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const directory = next
    if (scan.directories.size >= MOST_DIRECTORIES) {
      scan.unreadable.set(directory, `more than ${MOST_DIRECTORIES} directories`)
      break
    }
    try {
      const absolute = join(realRoot, directory)
      const { dev, ino } = await stat(absolute, { bigint: true })
      const entries = await readdir(absolute, { withFileTypes: true })
      scan.directories.set(absolute, `${dev}:${ino}`)
      for (const entry of entries) {
        const path = join(directory, entry.name)
        if (isPrivate(entry.name)) continue
        if (entry.isDirectory()) pending.push(path)
        else if (isObjectFile(entry.name)) await stampFile(realRoot, path, scan)
      }
    } catch (error) {
      // A directory that vanished between listing its parent and now holds nothing any more.
      if (directory === '') throw error
      if (codeOf(error) !== 'ENOENT') scan.unreadable.set(directory, describeError(error))
    }
  }
  return scan
}

/** The whole text of a file, or why there is none. `gone` if it vanished in the meantime. */
export type FileText =
  | { readonly outcome: 'text'; readonly text: string }
  | { readonly outcome: 'gone' }
  | { readonly outcome: 'unreadable'; readonly reason: string }

export async function readObjectFile(root: string, path: string): Promise<FileText> {
  try {
    // Without O_NONBLOCK a named pipe that took the file's place would block a thread for ever.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK
    await using handle = await open(join(root, path), flags)
    const { size } = await handle.stat()
    if (size > MOST_BYTES) return tooLarge(size)
    const buffer = Buffer.allocUnsafe(size + 1)
    let length = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null)
      length += bytesRead
      if (bytesRead === 0) break
      // It grew while being read; what is read of it now would be cut off.
      if (length === buffer.length)
        return { outcome: 'unreadable', reason: 'changed while being read' }
    }
    const text = new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length))
    return { outcome: 'text', text }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return { outcome: 'gone' }
    return { outcome: 'unreadable', reason: describeError(error) }
  }
}

/** Names that editors and mounts use for themselves. */
function isPrivate(name: string): boolean {
  return name.startsWith('.') || name.endsWith('~') || name.startsWith('#') || name === '4913'
}

/** Anything else, as `x.yaml.swp`, is not ours. */
const isObjectFile = (name: string): boolean => /\.(?:ya?ml|json)$/.test(name)

async function stampFile(
  root: string,
  path: string,
  scan: { files: Map<string, string>; unreadable: Map<string, string> },
): Promise<void> {
  if (scan.files.size >= MOST_FILES) {
    scan.unreadable.set(path, `more than ${MOST_FILES} files`)
    return
  }
  try {
    const real = await realpath(join(root, path))
    if (!real.startsWith(root.endsWith(sep) ? root : root + sep)) {
      scan.unreadable.set(path, 'a symbolic link that leads out of the directory')
      return
    }
    const facts = await stat(real, { bigint: true })
    if (!facts.isFile()) return
    scan.files.set(
      path,
      `${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeNs}:${facts.ctimeNs}`,
    )
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') scan.unreadable.set(path, describeError(error))
  }
}

function tooLarge(size: number): FileText {
  return { outcome: 'unreadable', reason: `${size} bytes; at most ${MOST_BYTES} are read` }
}
