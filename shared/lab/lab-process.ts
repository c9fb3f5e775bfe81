import type { ChildProcess } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { AmbitError, describeError } from '../runtime/errors.ts'

/** Lines kept of each process, the newest ones. */
const LINES_KEPT = 2_000

/** How long output is awaited after the end: a grandchild may hold the pipe for ever. */
const LAST_OUTPUT_MS = 500

/** What a log file takes at most. */
const LOG_FILE_BYTES = 64 * 1_048_576

export interface LabProcessOptions {
  readonly title: string
  /** Called for each line of its output. */
  readonly onLine?: (line: string) => void
  /** All of its output goes there too, up to 64 MiB. */
  readonly logFile?: string
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A program that runs in a place of the lab. Its output, both streams, is kept by line up to a bound. */
export class LabProcess {
  /** What it is called in error texts. */
  readonly title: string
  /** Settles when the process has ended and its output is read; never rejects. */
  readonly exited: Promise<Exit>
  readonly #child: ChildProcess
  readonly #lines: string[] = []
  readonly #listeners = new Set<(line: string) => void>()
  #log: WriteStream | undefined
  #exit: Exit | undefined
  #failure: Error | undefined

  constructor(child: ChildProcess, { title, onLine, logFile }: LabProcessOptions) {
    this.title = title
    this.#child = child
    if (onLine !== undefined) this.#listeners.add(onLine)
    if (logFile !== undefined) this.#log = createWriteStream(logFile, { flags: 'a' })
    this.#log?.on('error', (error) => {
      this.#keep(`(cannot write ${logFile}: ${describeError(error)})`)
      this.#log = undefined
    })
    this.#read(child.stdout)
    this.#read(child.stderr)
    child.stdin?.on('error', () => undefined)
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#failure = error
        if (child.pid === undefined) resolve(this.#ended({ code: null, signal: null }))
      })
      child.once('exit', (code, signal) => {
        const enough = setTimeout(() => resolve(this.#ended({ code, signal })), LAST_OUTPUT_MS)
        child.once('close', () => {
          clearTimeout(enough)
          resolve(this.#ended({ code, signal }))
        })
      })
    })
  }

  /** Undefined if it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  /** How it ended; undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit
  }

  /** The newest lines of its output. */
  get output(): string {
    return this.#lines.join('\n')
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    this.#child.kill(signal)
  }

  /** Sends SIGTERM, and SIGKILL after `graceMs`; resolves when it has ended. */
  async stop(graceMs = 2_000): Promise<Exit> {
    this.kill('SIGTERM')
    const force = setTimeout(() => this.kill('SIGKILL'), graceMs)
    return await this.exited.finally(() => clearTimeout(force))
  }

  /**
   * The first line, among those kept and those to come, that matches. Rejects with `LAB_TIMEOUT`, or `LAB_EXITED` if
   * the process ends first.
   */
  async waitForLine(pattern: RegExp, timeoutMs = 5_000): Promise<string> {
    const known = this.#lines.find((line) => pattern.test(line))
    if (known !== undefined) return known
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const look = (line: string): void => {
      if (pattern.test(line)) resolve(line)
    }
    const fail = (code: string, why: string): void =>
      reject(
        new AmbitError(
          code,
          `${this.title}: ${why} a line like ${pattern}; it printed:\n${this.output}`,
        ),
      )
    const timer = setTimeout(() => fail('LAB_TIMEOUT', `no ${timeoutMs} ms brought`), timeoutMs)
    this.#listeners.add(look)
    void this.exited.then(() => fail('LAB_EXITED', `${this.#endText()} before`))
    return await promise.finally(() => {
      clearTimeout(timer)
      this.#listeners.delete(look)
    })
  }

  #endText(): string {
    if (this.#failure !== undefined) return `failed (${describeError(this.#failure)})`
    return `ended (${this.#exit?.signal ?? `code ${this.#exit?.code}`})`
  }

  #ended(exit: Exit): Exit {
    this.#exit = exit
    this.#log?.end()
    this.#log = undefined
    return exit
  }

  #read(stream: Readable | null): void {
    if (stream === null) return
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
      this.#keep(line)
      if (this.#log !== undefined && this.#log.bytesWritten < LOG_FILE_BYTES) {
        this.#log.write(`${line}\n`)
      }
      for (const listener of this.#listeners) listener(line)
    })
  }

  #keep(line: string): void {
    this.#lines.push(line)
    if (this.#lines.length > LINES_KEPT) this.#lines.shift()
  }
}
