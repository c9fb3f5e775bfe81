import type { Place } from '../../shared/lab/place.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'

/** How long a load may take beyond its time, for starting and for the last answers. */
const GRACE_MS = 15_000

/** Runs a load generator in a client's namespace to its end; gives what it printed. Throws `BENCH_LOAD` with its complaint. */
export async function runLoad(
  client: Place,
  durationMs: number,
  command: readonly [string, ...string[]],
): Promise<string> {
  const [program, ...args] = command
  const { code, signal, stdout, stderr } = await client.exec(program, args, {
    timeoutMs: durationMs + GRACE_MS,
  })
  if (code === 0) return stdout
  const how = signal === null ? `code ${code}` : 'it did not end in time'
  const said = `${stderr.trim()} ${stdout.trim()}`.trim().slice(0, 500)
  throw new AmbitError('BENCH_LOAD', `${program} in ${client.name}: ${how}: ${said}`)
}

/** Generators take whole seconds, one at least. */
export const wholeSeconds = (durationMs: number): number =>
  Math.max(1, Math.round(durationMs / 1_000))
