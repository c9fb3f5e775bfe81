import { pino } from 'pino'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** `json` is one object a line; `plain` is for people: time, level, scope, message, key=value. */
export type LogFormat = 'json' | 'plain'

type Fields = Readonly<Record<string, unknown>>

/** Fixed messages, fields for the rest. Secrets never go into fields. */
export interface Log {
  debug(message: string, fields?: Fields): void
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
  /** The same log, every line carrying `fields`; `scope` names the part that speaks. */
  child(scope: string, fields?: Fields): Log
  /** Applies to this log and to everything made from the same root. */
  setLevel(level: LogLevel): void
  readonly level: LogLevel
}

export interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Where lines go; standard error unless a test says otherwise. Never blocks the caller for long. */
  readonly write?: (line: string) => void
}

export function createLog(options: LogOptions): Log {
  const write = options.write ?? ((line: string) => void process.stderr.write(line))
  const render = options.format === 'json' ? (line: string) => line : plainLine
  const root = pino(
    {
      base: null,
      level: options.level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
    },
    { write: (line: string) => write(render(line)) },
  )
  return logOver(root, { level: options.level, loggers: [root] })
}

/** Drops every line; for tests that do not read the log. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
  setLevel: () => undefined,
  level: 'error',
}

interface Shared {
  level: LogLevel
  readonly loggers: pino.Logger[]
}

function logOver(root: pino.Logger, shared: Shared, bindings: Fields = {}): Log {
  const emit = (level: LogLevel) => (message: string, fields?: Fields) => {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(shared.level)) return
    root[level]({ ...bindings, ...fields }, message)
  }
  return {
    debug: emit('debug'),
    info: emit('info'),
    warn: emit('warn'),
    error: emit('error'),
    child: (scope, fields) => logOver(root, shared, { ...bindings, scope, ...fields }),
    setLevel(level) {
      shared.level = level
      root.level = level
    },
    get level() {
      return shared.level
    },
  }
}

function plainLine(line: string): string {
  const parsed: unknown = JSON.parse(line)
  if (typeof parsed !== 'object' || parsed === null) return line
  const { level, time, scope, message, ...rest } = parsed as Record<string, unknown>
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${plainValue(value)}`)
  const head = [time, String(level).toUpperCase().padEnd(5), scope ?? '-', message]
  return `${[...head, ...fields].map(String).join(' ')}\n`
}

function plainValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return /^[\w.:/@[\]+-]+$/.test(text) ? text : JSON.stringify(text)
}
