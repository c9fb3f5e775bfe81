import { HttpEndpoint } from '../shared/runtime/http-endpoint.ts'
import type { Log } from '../shared/runtime/log.ts'

export interface ReadinessOptions {
  readonly port: number
  readonly log: Log
  /** Names of what is still missing; empty when ready. */
  readonly pending: () => readonly string[]
}

/** `GET /healthz/ready`: 200, or 500 with what is missing (ztunnel spec, section 10.6). */
export const createReadiness = ({ port, log, pending }: ReadinessOptions): HttpEndpoint =>
  new HttpEndpoint({
    name: 'readiness',
    host: '::',
    port,
    log,
    routes: new Map([
      [
        '/healthz/ready',
        {
          methods: ['GET'],
          answer: () => {
            const missing = pending()
            return missing.length === 0
              ? { body: 'ready\n' }
              : { status: 500, body: `not ready, pending: ${missing.join(', ')}\n` }
          },
        },
      ],
    ]),
  })
