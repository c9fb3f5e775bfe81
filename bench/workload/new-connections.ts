import type { Workload } from './workload.ts'
import { runWrk } from './wrk.ts'

/** Callers that connect anew for each request, at once. */
const CALLERS = 16

export const newConnections: Workload = {
  name: 'new-connections',
  about: `a new connection for each request, ${CALLERS} at a time, bodies of 100 bytes`,
  apps: ['http'],
  figure: { name: 'connections', unit: 'conn/s', better: 'higher' },
  inQuick: true,
  opensConnections: true,
  needsProxies: false,
  rounds: 'all',
  run: (context) =>
    runWrk(context, { connections: CALLERS, body: '0.1k', headers: ['Connection: close'] }),
}
