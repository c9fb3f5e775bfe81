import { AmbitError } from '../../shared/runtime/errors.ts'
import { APP_PORTS } from '../apps.ts'
import { runLoad } from './load-command.ts'
import type { Latency, Outcome, RunContext, Workload } from './workload.ts'

const PIPELINE = 16
const CLIENTS = 16
/** To learn how many requests fill the time: redis-benchmark is told a number, not a duration. */
const TRIAL_REQUESTS = 20_000
const MOST_REQUESTS = 50_000_000

export const redisPipeline: Workload = {
  name: 'redis-pipeline',
  about: `redis-benchmark GET, ${CLIENTS} connections, ${PIPELINE} requests in flight on each`,
  apps: ['redis'],
  figure: { name: 'requests', unit: 'req/s', better: 'higher' },
  inQuick: true,
  opensConnections: false,
  needsProxies: false,
  rounds: 'all',
  run: async (context) => {
    const trial = await run(context, TRIAL_REQUESTS)
    const wanted = Math.round((trial.value * context.durationMs) / 1_000)
    const load = await run(context, Math.min(Math.max(wanted, TRIAL_REQUESTS), MOST_REQUESTS))
    // The proxies are watched from the trial on.
    const requests = (trial.requests ?? 0) + (load.requests ?? 0)
    return { ...load, requests, seconds: trial.seconds + load.seconds }
  },
}

async function run({ running, durationMs }: RunContext, requests: number): Promise<Outcome> {
  const output = await runLoad(running.client, durationMs, [
    'redis-benchmark',
    '-h',
    running.host('redis'),
    '-p',
    String(APP_PORTS.redis),
    '-c',
    String(CLIENTS),
    '-P',
    String(PIPELINE),
    '-n',
    String(requests),
    '-t',
    'get',
  ])
  return parseRedisReport(output)
}

/** From the report for people, which has the finer percentiles. */
export function parseRedisReport(output: string): Outcome {
  const done = /(\d+) requests completed in ([\d.]+) seconds/.exec(output)
  const rate = /throughput summary: ([\d.]+) requests per second/.exec(output)
  if (done === null || rate === null) {
    throw new AmbitError('BENCH_LOAD', `redis-benchmark: no report in ${output.slice(-300)}`)
  }
  const curve = [...output.matchAll(/^([\d.]+)% <= ([\d.]+) milliseconds/gm)].map(
    ([, share, ms]) => ({ share: Number(share), ms: Number(ms) }),
  )
  const at = (share: number): number =>
    (curve.find((point) => point.share >= share) ?? curve.at(-1))?.ms ?? Number.NaN
  const latencyMs: Latency = { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9) }
  return {
    value: Number(rate[1]),
    seconds: Number(done[2]),
    requests: Number(done[1]),
    errors: 0,
    ...(curve.length === 0 ? {} : { latencyMs }),
  }
}
