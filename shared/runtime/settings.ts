import { z } from 'zod'
import { parseDuration } from './duration.ts'
import { AmbitError } from './errors.ts'
import { LOG_LEVELS } from './log.ts'

/** One setting of a program: its flag, its environment variable, its accepted form. */
export interface Setting<S extends z.ZodType = z.ZodType> {
  /** Without the dashes: `xds-address`. */
  readonly flag: string
  /** The same by environment; the flag wins. */
  readonly env: string
  /** What stands after the flag in the help, `URL`; none for a switch. */
  readonly argument?: string
  readonly help: string
  /** The accepted form in words: `a duration like 5s or 1m 30s`. */
  readonly form: string
  /** From text to value. */
  readonly schema: S
  /** In the text form; a setting without one has to be given. */
  readonly fallback?: string
}

export type Settings = Readonly<Record<string, Setting>>

export type SettingsOf<D extends Settings> = {
  readonly [K in keyof D]: z.output<D[K]['schema']>
}

export interface SettingsInput {
  /** By flag, as the command line gave them; `true` for a switch. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>
  readonly env: Readonly<Record<string, string | undefined>>
}

/**
 * The settings of one program, from flags, then environment, then defaults. Throws `AMBIT_SETTINGS`, a line for each
 * problem: it names the flag, the variable and the accepted form. A variable that begins with `AMBIT_` and belongs to
 * no setting is a problem too, so that a typo does not become a default. An empty variable counts as not set unless
 * empty is a value.
 */
export function readSettings<D extends Settings>(
  definitions: D,
  input: SettingsInput,
): SettingsOf<D> {
  const problems: string[] = []
  const values: Record<string, unknown> = {}
  for (const [key, setting] of Object.entries(definitions)) {
    const found = textOf(setting, input)
    if (found === undefined) {
      problems.push(`--${setting.flag} (${setting.env}) is missing: ${setting.form}`)
      continue
    }
    const parsed = setting.schema.safeParse(found.text)
    if (parsed.success) values[key] = parsed.data
    else problems.push(`${found.from}: ${JSON.stringify(found.text)} is not ${setting.form}`)
  }
  const known = new Set(Object.values(definitions).map((setting) => setting.env))
  for (const name of Object.keys(input.env)) {
    if (!name.startsWith('AMBIT_') || known.has(name)) continue
    problems.push(`${name}: there is no such environment variable for this command`)
  }
  if (problems.length > 0) throw new AmbitError('AMBIT_SETTINGS', problems.join('\n'))
  // Every key of the definitions was filled by its own schema above.
  return values as SettingsOf<D>
}

function textOf(
  setting: Setting,
  input: SettingsInput,
): { readonly text: string; readonly from: string } | undefined {
  const flag = input.flags[setting.flag]
  if (flag !== undefined) return { text: String(flag), from: `--${setting.flag}` }
  const variable = input.env[setting.env]
  if (variable !== undefined && (variable !== '' || setting.fallback === '')) {
    return { text: variable, from: setting.env }
  }
  const { fallback } = setting
  return fallback === undefined ? undefined : { text: fallback, from: `--${setting.flag}` }
}

/** Milliseconds. */
export const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  context.addIssue({ code: 'custom', message: 'no duration' })
  return z.NEVER
})

export const port = z
  .string()
  .regex(/^\d{1,5}$/)
  .transform(Number)
  .pipe(z.int().max(65_535))

/** A switch, which is `true` or `false` by environment. */
export const toggle = z.enum(['true', 'false']).transform((text) => text === 'true')

export interface HostPort {
  readonly host: string
  readonly port: number
}

/** `HOST:PORT`; an IPv6 address stands in brackets. */
export const hostPort = z
  .string()
  .regex(/^(\[[0-9A-Fa-f:.]+\]|[^\s:[\]]+):\d{1,5}$/)
  .transform((text): HostPort => {
    const colon = text.lastIndexOf(':')
    const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
    return { host, port: Number(text.slice(colon + 1)) }
  })
  .refine((value) => value.port <= 65_535)

/** A gRPC server over TLS: `https://host:port`. */
export const secureUrl = z
  .string()
  .regex(/^https:\/\/[^/?#@]+:\d{1,5}\/?$/)
  .refine((text) => URL.canParse(text))

/** Settings that every program has. */
export const LOG_SETTINGS = {
  logLevel: {
    flag: 'log-level',
    env: 'AMBIT_LOG_LEVEL',
    argument: 'LEVEL',
    help: 'The least severe lines that are written.',
    form: `one of ${LOG_LEVELS.join(', ')}`,
    schema: z.enum(LOG_LEVELS),
    fallback: 'info',
  },
  logFormat: {
    flag: 'log-format',
    env: 'LOG_FORMAT',
    argument: 'FORMAT',
    help: 'json is one object a line, plain is for people.',
    form: 'json or plain',
    schema: z.enum(['json', 'plain']),
    fallback: 'plain',
  },
} as const satisfies Settings
