import { type FSWatcher, watch } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { sep } from 'node:path'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import { AmbitError, describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import { readObjectFile, type Scan, scanDirectory } from './directory-scan.ts'
import type { ObjectSink, ObjectSource, SourceProblem } from './events.ts'
import { parseObjectFile } from './object-file.ts'
import { ObjectSet } from './object-set.ts'

const QUIET_MS = 40
const LONGEST_DEBOUNCE_MS = 400
const RESCAN_MS = 10_000
/** How long an emptied file may be about to be written anew before it is believed. */
const EMPTY_GRACE_MS = 500

export interface FileSourceOptions {
  readonly directory: string
  readonly clock: Clock
  readonly log: Log
}

/**
 * Objects from a directory of YAML and JSON files, watched. A file that cannot be read or parsed, and an object that
 * is invalid, change nothing: what was in force stays, and the fault is reported.
 */
export class FileSource implements ObjectSource {
  readonly #directory: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #set = new ObjectSet()
  /** Of every file as it was last read. */
  readonly #stamps = new Map<string, string>()
  /** Since when a file that had objects is empty. */
  readonly #emptySince = new Map<string, number>()
  readonly #watchers = new Map<string, { readonly inode: string; readonly watcher: FSWatcher }>()
  #root = ''
  #sink: ObjectSink | undefined
  #rootProblem: string | undefined
  #watchProblem: string | undefined
  #reported: ReadonlySet<string> = new Set()
  #unusedLine = ''
  #timer: Timer | undefined
  #rescan: Timer | undefined
  #recheck: Timer | undefined
  #firstChangeMs: number | undefined
  #scanning: Promise<void> | undefined
  #started = false
  #closed = false

  constructor(options: FileSourceOptions) {
    this.#directory = options.directory
    this.#clock = options.clock
    this.#log = options.log.child('source')
  }

  async start(sink: ObjectSink): Promise<void> {
    this.#sink = sink
    try {
      this.#root = await realpath(this.#directory)
      this.#syncWatchers(await scanDirectory(this.#root))
    } catch (error) {
      const message = `cannot read the directory of objects ${this.#directory}`
      throw new AmbitError('AMBIT_CONFIG_DIRECTORY', message, { cause: error })
    }
    await this.#scan()
    this.#started = true
    this.#armRescan()
  }

  problems(): readonly SourceProblem[] {
    const own = [this.#rootProblem, this.#watchProblem].filter((reason) => reason !== undefined)
    const ours = own.map((reason) => ({
      file: '.',
      document: undefined,
      object: undefined,
      path: undefined,
      reason,
    }))
    return [...ours, ...this.#set.problems()]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    this.#rescan?.cancel()
    this.#recheck?.cancel()
    for (const { watcher } of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    await this.#scanning
  }

  /** Something happened in a watched directory: look when it has been quiet for a moment. */
  #touched(): void {
    if (this.#closed) return
    const now = this.#clock.monotonicMs()
    this.#firstChangeMs ??= now
    const left = this.#firstChangeMs + LONGEST_DEBOUNCE_MS - now
    this.#timer?.cancel()
    this.#timer = this.#clock.after(Math.max(0, Math.min(QUIET_MS, left)), () => this.#scanNow())
  }

  #scanNow(): void {
    // One at a time; what is touched during a scan is looked at in the next.
    if (this.#scanning !== undefined) {
      this.#timer = this.#clock.after(QUIET_MS, () => this.#scanNow())
      return
    }
    this.#firstChangeMs = undefined
    this.#scanning = this.#scan()
      .catch((error: unknown) => this.#log.error('scan failed', { error: describeError(error) }))
      .finally(() => {
        this.#scanning = undefined
      })
  }

  #armRescan(): void {
    if (this.#closed) return
    this.#rescan = this.#clock.after(RESCAN_MS, () => {
      if (this.#scanning === undefined) this.#scanNow()
      this.#armRescan()
    })
  }

  async #scan(): Promise<void> {
    let scan: Scan
    try {
      this.#root = await realpath(this.#directory)
      scan = await scanDirectory(this.#root)
      this.#rootProblem = undefined
    } catch (error) {
      this.#rootProblem = `cannot be listed, so all its objects stay in force: ${describeError(error)}`
      this.#report()
      return
    }
    if (this.#closed) return
    this.#syncWatchers(scan)
    for (const file of this.#set.files()) {
      if (scan.files.has(file) || isUnder(file, scan.unreadable)) continue
      this.#forget(file)
    }
    for (const [path, reason] of scan.unreadable) {
      this.#stamps.delete(path)
      this.#set.hold(path, reason)
    }
    for (const file of [...scan.files.keys()].sort()) {
      await this.#read(file, scan.files.get(file) ?? '')
    }
    if (this.#closed) return
    const events = this.#set.takeEvents()
    if (events.length > 0) this.#sink?.(events)
    this.#report()
  }

  async #read(file: string, stamp: string): Promise<void> {
    if (this.#stamps.get(file) === stamp) return
    const content = await readObjectFile(this.#root, file)
    switch (content.outcome) {
      case 'gone':
        this.#forget(file)
        return
      case 'unreadable':
        this.#stamps.delete(file)
        this.#set.hold(file, content.reason)
        return
      case 'text': {
        if (content.text.trim() === '' && this.#mayBeHalfWritten(file)) return
        this.#emptySince.delete(file)
        this.#stamps.set(file, stamp)
        this.#set.put(file, parseObjectFile(file, content.text))
      }
    }
  }

  /** Many programs empty a file before they write it. */
  #mayBeHalfWritten(file: string): boolean {
    if (!this.#set.hasObjects(file)) return false
    const now = this.#clock.monotonicMs()
    const since = this.#emptySince.get(file)
    if (since !== undefined && now - since >= EMPTY_GRACE_MS) return false
    if (since === undefined) this.#emptySince.set(file, now)
    this.#recheck?.cancel()
    this.#recheck = this.#clock.after(EMPTY_GRACE_MS, () => this.#touched())
    return true
  }

  #forget(file: string): void {
    this.#stamps.delete(file)
    this.#emptySince.delete(file)
    this.#set.delete(file)
  }

  #syncWatchers({ directories }: Scan): void {
    for (const [directory, { inode, watcher }] of this.#watchers) {
      if (directories.get(directory) === inode) continue
      watcher.close()
      this.#watchers.delete(directory)
    }
    this.#watchProblem = undefined
    for (const [directory, inode] of directories) {
      if (this.#watchers.has(directory)) continue
      try {
        const watcher = watch(directory, { persistent: false }, () => this.#touched())
        watcher.on('error', () => this.#unwatch(directory, watcher))
        this.#watchers.set(directory, { inode, watcher })
        // A directory made between its listing and its watching may already have content.
        if (this.#started) this.#touched()
      } catch (error) {
        this.#watchProblem = `not watched, only read every ${RESCAN_MS / 1000} s: ${describeError(error)}`
      }
    }
  }

  #unwatch(directory: string, watcher: FSWatcher): void {
    watcher.close()
    if (this.#watchers.get(directory)?.watcher === watcher) this.#watchers.delete(directory)
    this.#touched()
  }

  /** One line for each new problem, one for the kinds that are not used when their counts changed. */
  #report(): void {
    const problems = new Map(this.problems().map((problem) => [JSON.stringify(problem), problem]))
    for (const [text, { file, document, object, path, reason }] of problems) {
      if (this.#reported.has(text)) continue
      this.#log.warn('object ignored', {
        file,
        ...(document === undefined ? {} : { document }),
        ...(object === undefined ? {} : { object }),
        ...(path === undefined ? {} : { path }),
        reason,
      })
    }
    this.#reported = new Set(problems.keys())
    const unused = [...this.#set.unused()].sort(([a], [b]) => (a < b ? -1 : 1))
    const line = JSON.stringify(unused)
    if (line === this.#unusedLine || (unused.length === 0 && this.#unusedLine === '')) return
    this.#unusedLine = line
    this.#log.info('kinds that are not used', { counts: Object.fromEntries(unused) })
  }
}

/** Whether `file` is one of `paths`, or below one of them. */
function isUnder(file: string, paths: ReadonlyMap<string, string>): boolean {
  if (paths.has(file)) return true
  for (let at = file.lastIndexOf(sep); at > 0; at = file.lastIndexOf(sep, at - 1)) {
    if (paths.has(file.slice(0, at))) return true
  }
  return false
}
