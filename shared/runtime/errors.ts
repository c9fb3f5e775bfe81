/**
 * A failure that was foreseen. `code` is stable: it labels metrics and logs, and callers match on it, never on
 * the message. Anything that is not an `AmbitError` is a bug and is logged with its stack.
 */
export class AmbitError extends Error {
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'AmbitError'
    this.code = code
  }
}

/** The text of anything thrown, with its chain of causes, on one line. */
export function describeError(thrown: unknown): string {
  const parts: string[] = []
  let current: unknown = thrown
  for (let depth = 0; current !== undefined && current !== null && depth < 5; depth++) {
    const text = textOf(current)
    if (parts.at(-1) !== text) parts.push(text)
    current = current instanceof Error ? current.cause : undefined
  }
  return parts.join(': ').replaceAll(/\s*\n\s*/g, ' ')
}

function textOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message || thrown.name
  return typeof thrown === 'string' ? thrown : (JSON.stringify(thrown) ?? 'unknown')
}

/** The `code` of an error of ours or of Node (`ECONNREFUSED`), else `undefined`. */
export function codeOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}
