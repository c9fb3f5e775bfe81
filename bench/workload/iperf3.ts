import { z } from 'zod'
import { codeOf } from '../../shared/runtime/errors.ts'
import { pause } from '../../shared/runtime/lifecycle.ts'
import { APP_PORTS } from '../apps.ts'
import { runLoad, wholeSeconds } from './load-command.ts'
import type { Outcome, RunContext, Workload } from './workload.ts'

/** The server takes one test at a time and needs a moment after each. */
const ATTEMPTS = 5
const RETRY_MS = 200

const Report = z.object({
  end: z.object({
    sum_received: z.object({ seconds: z.number(), bytes: z.number(), bits_per_second: z.number() }),
  }),
})

/** Bulk bytes from client to server. */
export function iperf3(streams: number): Workload {
  return {
    name: `iperf3-${streams}`,
    about: `iperf3, ${streams === 1 ? 'one stream' : `${streams} streams`}`,
    apps: ['iperf3'],
    figure: { name: 'throughput', unit: 'Gbit/s', better: 'higher' },
    inQuick: streams === 1,
    opensConnections: false,
    needsProxies: false,
    rounds: 'all',
    run: (context) => runStreams(context, streams),
  }
}

async function runStreams(context: RunContext, streams: number): Promise<Outcome> {
  const { running, durationMs } = context
  const command = [
    'iperf3',
    '--client',
    running.host('iperf3'),
    '--port',
    String(APP_PORTS.iperf3),
    '--time',
    String(wholeSeconds(durationMs)),
    '--parallel',
    String(streams),
    '--json',
  ] as const
  for (let attempt = 1; ; attempt++) {
    try {
      return parseIperfReport(await runLoad(running.client, durationMs, command))
    } catch (error) {
      const isBusy = codeOf(error) === 'BENCH_LOAD' && String(error).includes('busy')
      if (!isBusy || attempt === ATTEMPTS) throw error
      await pause(RETRY_MS)
    }
  }
}

/** As the receiver saw it. */
export function parseIperfReport(json: string): Outcome {
  const { bits_per_second, seconds, bytes } = Report.parse(JSON.parse(json)).end.sum_received
  return { value: bits_per_second / 1e9, seconds, bytes, errors: 0 }
}
