import type { Pair, Spread } from './links.ts'

/** What a line is, so that the terminal can colour it. */
export type Tone = 'head' | 'mutual_tls' | 'plaintext' | 'denied'

export interface TableLine {
  readonly tone: Tone
  readonly text: string
}

export interface RatedPair extends Pair {
  readonly perSecond: number | undefined
  /** Denied during the last seconds. */
  readonly deniedNow: boolean
}

interface Column {
  readonly title: readonly [string, string]
  readonly width: number
  readonly align: 'left' | 'right'
  readonly text: (pair: RatedPair) => string
}

const COLUMNS: readonly Column[] = [
  { title: ['', 'caller'], width: 19, align: 'left', text: (pair) => pair.caller },
  { title: ['', 'callee'], width: 19, align: 'left', text: (pair) => pair.callee },
  {
    title: ['', 'security'],
    width: 9,
    align: 'left',
    text: (pair) => (pair.security === 'mutual_tls' ? 'mTLS' : 'plaintext'),
  },
  {
    title: ['connections', 'open/total'],
    width: 11,
    align: 'right',
    text: (pair) => `${pair.open}/${pair.total}`,
  },
  {
    title: ['new', '/s'],
    width: 5,
    align: 'right',
    text: ({ perSecond }) => (perSecond === undefined ? '-' : perSecond.toFixed(1)),
  },
  { title: ['', 'bytes'], width: 8, align: 'right', text: (pair) => bytesText(pair.bytes) },
  {
    title: ['set-up, ms', 'p50 / p99'],
    width: 12,
    align: 'right',
    text: (pair) => spreadText(pair.setupMs),
  },
  {
    title: ['1st byte, ms', 'p50 / p99'],
    width: 12,
    align: 'right',
    text: (pair) => spreadText(pair.firstByteMs),
  },
  { title: ['', 'denied'], width: 7, align: 'right', text: (pair) => String(pair.denied) },
]

const GAP = '  '

/** At most 118 columns wide. */
export function tableLines(pairs: readonly RatedPair[]): readonly TableLine[] {
  const heads = ([0, 1] as const).map((line) =>
    COLUMNS.map(({ title, width, align }) => fit(title[line], width, align))
      .join(GAP)
      .trimEnd(),
  )
  return [
    ...heads.map((text): TableLine => ({ tone: 'head', text })),
    ...pairs.map((pair) => ({
      tone: pair.deniedNow ? ('denied' as const) : pair.security,
      text: COLUMNS.map(({ width, align, text }) => fit(text(pair), width, align)).join(GAP),
    })),
  ]
}

function fit(text: string, width: number, align: 'left' | 'right'): string {
  const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text
  return align === 'left' ? cut.padEnd(width) : cut.padStart(width)
}

/** Three digits at most, and a unit. */
export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 'B'
  for (const next of ['kB', 'MB', 'GB', 'TB']) {
    if (value < 1_000) break
    value /= 1_000
    unit = next
  }
  return `${unit === 'B' ? value : value.toFixed(value < 10 ? 1 : 0)} ${unit}`
}

const spreadText = (spread: Spread | undefined): string =>
  spread === undefined ? '-' : `${msText(spread.p50)} / ${msText(spread.p99)}`

const msText = (ms: number): string => ms.toFixed(ms < 10 ? 1 : 0)
