import { styleText } from 'node:util'
import type { Tone } from './link-table.ts'

export interface Terminal {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
}

export interface ScreenLine {
  readonly text: string
  readonly tone?: Tone | 'title' | 'command' | 'note' | 'alarm'
  /** Lines of a smaller number are kept when the terminal is too low for all. */
  readonly rank?: number
}

const ESC = '\x1b['
/** The terminal's second page, so that the first comes back as it was; the cursor hidden. */
const ENTER = `${ESC}?1049h${ESC}?25l`
const LEAVE = `${ESC}?25h${ESC}?1049l`
/** Terminals that know it show the whole picture at once; others ignore it. */
const BEGIN = `${ESC}?2026h${ESC}H`
const END = `${ESC}?2026l`

const STYLES = {
  title: ['bold'],
  head: ['dim'],
  note: ['dim'],
  mutual_tls: ['green'],
  plaintext: ['yellow'],
  denied: ['red'],
  alarm: ['yellow', 'bold'],
  command: ['cyan'],
} as const

/** A picture that is drawn over itself, line by line, without being cleared in between. */
export class Screen implements Disposable {
  readonly #terminal: Terminal
  readonly #colours: boolean
  #isOpen = false

  constructor(terminal: Terminal, colours: boolean) {
    this.#terminal = terminal
    this.#colours = colours
  }

  draw(lines: readonly ScreenLine[]): void {
    const { columns = 120, rows = 40 } = this.#terminal
    const body = fitted(lines, rows)
      .map((line) => `${this.#styled(cut(line.text, columns), line.tone)}${ESC}K`)
      .join('\r\n')
    this.#terminal.write(`${this.#isOpen ? '' : ENTER}${BEGIN}${body}${ESC}J${END}`)
    this.#isOpen = true
  }

  /** Gives the terminal back as it was. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#terminal.write(LEAVE)
  }

  #styled(text: string, tone: ScreenLine['tone']): string {
    if (!this.#colours || tone === undefined) return text
    return styleText([...STYLES[tone]], text, { validateStream: false })
  }
}

/** Leaves out the lines of the largest ranks until the rest fits. */
function fitted(lines: readonly ScreenLine[], rows: number): readonly ScreenLine[] {
  let kept = lines
  for (let rank = 3; rank > 0 && kept.length > rows; rank--) {
    kept = kept.filter((line) => (line.rank ?? 0) < rank)
  }
  return kept.slice(0, Math.max(rows, 1))
}

const cut = (text: string, columns: number): string =>
  text.length > columns ? `${text.slice(0, Math.max(columns - 1, 0))}…` : text
