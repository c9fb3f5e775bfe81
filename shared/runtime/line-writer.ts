import { writeSync } from 'node:fs'
import { codeOf } from './errors.ts'

/** A pipe takes a write of up to this many bytes whole, whatever other threads and processes write (PIPE_BUF). */
const ATOMIC_BYTES = 4_096
/** Lines beyond this are dropped, and their number is written, until the reader has caught up. */
const MAX_PENDING_BYTES = 1_048_576
const RETRY_MS = 5

/**
 * Writes the lines of a thread to a descriptor of the process: those of one turn together, never a part of a line in
 * between lines of another thread. In a worker `process.stderr` would go by way of the main thread, and wait for it.
 */
export class LineWriter {
  readonly #fd: number
  readonly #onDropped: (lines: number) => void
  #pending: string[] = []
  #bytes = 0
  #dropped = 0
  #planned = false

  /** `onDropped` is told afterwards how many lines were lost to a reader that was too slow. */
  constructor(fd: number, onDropped: (lines: number) => void) {
    this.#fd = fd
    this.#onDropped = onDropped
  }

  /** `line` ends in a line break. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line)
    if (this.#bytes + bytes > MAX_PENDING_BYTES) {
      this.#dropped++
      return
    }
    this.#pending.push(line)
    this.#bytes += bytes
    if (this.#planned) return
    this.#planned = true
    setImmediate(() => this.flush())
  }

  /** Writes what is pending now, as far as the reader takes it. */
  flush(): void {
    this.#planned = false
    for (const [chunk, lines] of this.#chunks()) {
      const rest = this.#put(chunk)
      this.#pending.splice(0, lines, ...(rest === '' ? [] : [rest]))
      this.#bytes -= Buffer.byteLength(chunk) - Buffer.byteLength(rest)
      if (rest !== '') break
    }
    if (this.#pending.length > 0) {
      this.#planned = true
      setTimeout(() => this.flush(), RETRY_MS).unref()
    } else if (this.#dropped > 0) {
      const dropped = this.#dropped
      this.#dropped = 0
      this.#onDropped(dropped)
    }
  }

  #chunks(): (readonly [text: string, lines: number])[] {
    const chunks: (readonly [string, number])[] = []
    let text = ''
    let lines = 0
    for (const line of this.#pending) {
      if (lines > 0 && Buffer.byteLength(text) + Buffer.byteLength(line) > ATOMIC_BYTES) {
        chunks.push([text, lines])
        text = ''
        lines = 0
      }
      text += line
      lines++
    }
    if (lines > 0) chunks.push([text, lines])
    return chunks
  }

  /** What the reader does not take now. A log that cannot be written at all is nothing to stop for. */
  #put(chunk: string): string {
    try {
      const bytes = Buffer.from(chunk)
      return bytes.subarray(writeSync(this.#fd, bytes)).toString()
    } catch (error) {
      return codeOf(error) === 'EAGAIN' ? chunk : ''
    }
  }
}
