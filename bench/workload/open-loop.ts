import { z } from 'zod'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { APP_PORTS } from '../apps.ts'
import { loadPath } from '../load/load-path.ts'
import { runLoad } from './load-command.ts'
import type { Outcome, Workload } from './workload.ts'

const CONNECTIONS = 64
export const RATES = [500, 2_000, 5_000] as const

const Percentiles = z.object({
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  p999: z.number(),
})
const Report = z.object({
  answered: z.number(),
  failed: z.number(),
  unanswered: z.number(),
  seconds: z.number(),
  latencyMs: Percentiles,
  latenessMs: Percentiles,
})

/** Latency at a rate that does not wait for answers. */
export function openLoop(rate: number): Workload {
  return {
    name: `open-loop-${rate}`,
    about: `HTTP at ${rate} requests a second whatever the answers do, ${CONNECTIONS} connections, bodies of 100 bytes, latency from the moment each was due`,
    apps: ['http'],
    figure: { name: 'p99 latency', unit: 'ms', better: 'lower' },
    inQuick: rate === 2_000,
    opensConnections: false,
    needsProxies: false,
    rounds: 'all',
    run: async ({ running, durationMs }) => {
      const output = await runLoad(running.client, durationMs, [
        process.execPath,
        loadPath('open-loop-app'),
        '--host',
        running.host('http'),
        '--port',
        String(APP_PORTS.http),
        '--path',
        '/0.1k',
        '--rate',
        String(rate),
        '--seconds',
        String(durationMs / 1_000),
        '--connections',
        String(CONNECTIONS),
      ])
      return parseOpenLoopReport(output)
    },
  }
}

/** Throws `BENCH_LOAD` if nothing was answered. */
export function parseOpenLoopReport(json: string): Outcome {
  const report = Report.parse(JSON.parse(json))
  if (report.answered === 0) throw new AmbitError('BENCH_LOAD', 'no request was answered')
  return {
    value: report.latencyMs.p99,
    seconds: report.seconds,
    requests: report.answered,
    latencyMs: report.latencyMs,
    errors: report.failed + report.unanswered,
    notes: [`the generator itself was late by ${report.latenessMs.p99.toFixed(2)} ms at p99`],
  }
}
