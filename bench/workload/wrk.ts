import { join } from 'node:path'
import { z } from 'zod'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { APP_PORTS, type Body } from '../apps.ts'
import { runLoad, wholeSeconds } from './load-command.ts'
import type { Outcome, RunContext } from './workload.ts'

export interface WrkOptions {
  readonly connections: number
  readonly body: Body
  readonly headers: readonly string[]
}

const Report = z.object({
  requests: z.number(),
  microseconds: z.number(),
  bytes: z.number(),
  errors: z.number(),
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  p999: z.number(),
})

/** Closed-loop HTTP load with one thread: the machine's other cores are for what is measured. */
export async function runWrk(context: RunContext, options: WrkOptions): Promise<Outcome> {
  const { running, durationMs } = context
  const { connections, body, headers } = options
  const script = join(packageRoot(), 'bench', 'load', 'wrk-report.lua')
  const url = `http://${running.host('http')}:${APP_PORTS.http}/${body}`
  const output = await runLoad(running.client, durationMs, [
    'wrk',
    '--threads=1',
    `--connections=${connections}`,
    `--duration=${wholeSeconds(durationMs)}s`,
    '--timeout=5s',
    `--script=${script}`,
    ...headers.flatMap((header) => ['--header', header]),
    url,
  ])
  return parseWrkReport(output)
}

/** From the line that `wrk-report.lua` prints. Throws `BENCH_LOAD` if nothing was answered. */
export function parseWrkReport(output: string): Outcome {
  const json = /^wrk-report (.*)$/m.exec(output)?.[1] ?? 'null'
  const { requests, microseconds, bytes, errors, ...latency } = Report.parse(JSON.parse(json))
  if (requests === 0)
    throw new AmbitError('BENCH_LOAD', `wrk: no request was answered, ${errors} errors`)
  const seconds = microseconds / 1e6
  return {
    value: requests / seconds,
    seconds,
    requests,
    bytes,
    errors,
    latencyMs: {
      p50: latency.p50 / 1_000,
      p90: latency.p90 / 1_000,
      p99: latency.p99 / 1_000,
      p999: latency.p999 / 1_000,
    },
  }
}
