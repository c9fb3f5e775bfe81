import { BODIES, type Body } from '../apps.ts'
import type { Workload } from './workload.ts'
import { runWrk } from './wrk.ts'

export const DEFAULT_CONNECTIONS = [1, 8, 64, 256] as const

const ALL_BODIES: readonly Body[] = ['0.1k', '10k', '1000k']
/** Where proxies differ most: one connection's latency, and many small requests. */
const IN_QUICK: readonly string[] = ['http-1-0.1k', 'http-64-0.1k', 'http-8-10k']

/** wrk against nginx over kept connections. */
export function httpKeepAlive(connections: number, body: Body): Workload {
  const name = `http-${connections}-${body}`
  return {
    name,
    about: `HTTP keep-alive, ${connections} connections, bodies of ${BODIES[body]} bytes`,
    apps: ['http'],
    figure: { name: 'requests', unit: 'req/s', better: 'higher' },
    inQuick: IN_QUICK.includes(name),
    opensConnections: false,
    needsProxies: false,
    rounds: 'all',
    run: (context) => runWrk(context, { connections, body, headers: [] }),
  }
}

export const httpWorkloads = (connections: readonly number[]): readonly Workload[] =>
  ALL_BODIES.flatMap((body) => connections.map((count) => httpKeepAlive(count, body)))
