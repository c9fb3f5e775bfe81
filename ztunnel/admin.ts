import type { CertificateManager } from '../shared/identity/certificate-manager.ts'
import type { MeshStore } from '../shared/mesh/store.ts'
import { type Answer, HttpEndpoint, type Route } from '../shared/runtime/http-endpoint.ts'
import { LOG_LEVELS, type Log, type LogLevel } from '../shared/runtime/log.ts'
import { packageVersion } from '../shared/runtime/version.ts'
import type { Enrollment } from './enroll/enrollment.ts'

export interface AdminOptions {
  readonly port: number
  readonly mesh: MeshStore
  readonly certificates: CertificateManager
  readonly enrollment: Enrollment
  readonly links: Route
  /** Settings without secrets, as they are in force. */
  readonly config: Readonly<Record<string, unknown>>
  readonly log: Log
  /** Starts the graceful shutdown. */
  readonly quit: () => void
}

/** The admin port of ztunnel, on loopback only (ztunnel spec, section 10.5). */
export function createAdmin(options: AdminOptions): HttpEndpoint {
  const routes = new Map<string, Route>([
    ['/config_dump', { methods: ['GET'], answer: () => json(configDump(options)) }],
    ['/links', options.links],
    ['/logging', { methods: ['POST'], answer: (query) => logging(options.log, query) }],
    [
      '/quitquitquit',
      {
        methods: ['POST'],
        answer: () => {
          options.quit()
          return { body: 'shutdown now\n' }
        },
      },
    ],
  ])
  routes.set('/', { methods: ['GET'], answer: () => index([...routes.keys()]) })
  return new HttpEndpoint({
    name: 'admin',
    host: '127.0.0.1',
    port: options.port,
    routes,
    log: options.log,
  })
}

/** In the shape that existing tools read (controlplane spec, section 9.1). */
function configDump(options: AdminOptions): unknown {
  const { mesh, certificates, enrollment, config } = options
  return {
    ...mesh.dump(),
    certificates: certificates.dump(),
    workloadState: Object.fromEntries(
      enrollment.proxies().map((proxy) => {
        const { uid, name, namespace, serviceAccount } = proxy.subject
        const open = proxy.connections.list()
        const of = (direction: 'inbound' | 'outbound') =>
          open
            .filter((one) => one.direction === direction)
            .map(({ source, destination, protocol }) => ({
              src: source,
              originalDst: destination,
              actualDst: destination,
              protocol,
            }))
        return [
          uid,
          {
            state: 'Up',
            connections: { inbound: of('inbound'), outbound: of('outbound') },
            info: { name, namespace, serviceAccount },
          },
        ]
      }),
    ),
    config,
    version: { version: packageVersion(), buildStatus: 'Clean', istioVersion: 'unknown' },
  }
}

function logging(log: Log, query: URLSearchParams): Answer {
  const asked = query.has('reset') ? 'info' : query.get('level')
  if (asked === null) return { body: `active log level: ${log.level}\n` }
  const level = LOG_LEVELS.find((one) => one === asked)
  if (level === undefined) {
    const known: readonly LogLevel[] = LOG_LEVELS
    return { status: 400, body: `no such level: ${asked}; one of ${known.join(', ')}\n` }
  }
  log.setLevel(level)
  return { body: `active log level: ${level}\n` }
}

const json = (value: unknown): Answer => ({
  type: 'application/json',
  body: `${JSON.stringify(value, undefined, 2)}\n`,
})

const index = (paths: readonly string[]): Answer => ({
  type: 'text/html; charset=utf-8',
  body: `<!doctype html><title>ztunnel</title><h1>ztunnel</h1><ul>${paths
    .map((path) => `<li><a href="${path}">${path}</a>`)
    .join('')}</ul>\n`,
})
