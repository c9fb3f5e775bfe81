import type { CertificateManager } from '../shared/identity/certificate-manager.ts'
import type { MeshStore } from '../shared/mesh/store.ts'
import { type Answer, HttpEndpoint, type Route } from '../shared/runtime/http-endpoint.ts'
import { LOG_LEVELS, type Log, type LogLevel } from '../shared/runtime/log.ts'
import { packageVersion } from '../shared/runtime/version.ts'
import type { DataPlane, View } from './data-plane/data-plane.ts'
import type { ConnectionRow } from './data-plane/messages.ts'
import type { Enrollment } from './enroll/enrollment.ts'

export interface AdminOptions {
  readonly port: number
  readonly mesh: MeshStore
  readonly certificates: CertificateManager
  readonly enrollment: Enrollment
  readonly dataPlane: DataPlane
  /** Settings without secrets, as they are in force. */
  readonly config: Readonly<Record<string, unknown>>
  readonly log: Log
  /** Starts the graceful shutdown. */
  readonly quit: () => void
}

/** The admin port of ztunnel, on loopback only (ztunnel spec, section 10.5). */
export function createAdmin(options: AdminOptions): HttpEndpoint {
  const routes = new Map<string, Route>([
    ['/config_dump', { methods: ['GET'], answer: async () => json(await configDump(options)) }],
    ['/links', { methods: ['GET'], answer: async () => json(await links(options.dataPlane)) }],
    ['/logging', { methods: ['POST'], answer: (query) => logging(options, query) }],
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
async function configDump(options: AdminOptions): Promise<unknown> {
  const { mesh, certificates, enrollment, config, dataPlane } = options
  const connections = await dataPlane.connections()
  const { pods, omitted } = connections.value
  return {
    ...mesh.dump(),
    certificates: certificates.dump(),
    workloadState: Object.fromEntries(
      enrollment.proxies().map(({ subject, servedId }) => {
        const { uid, name, namespace, serviceAccount } = subject
        const open = (servedId === undefined ? undefined : pods.get(servedId)) ?? []
        return [
          uid,
          {
            state: 'Up',
            connections: { inbound: rowsOf(open, 'inbound'), outbound: rowsOf(open, 'outbound') },
            info: { name, namespace, serviceAccount },
          },
        ]
      }),
    ),
    ...(omitted === 0 ? {} : { connectionsOmitted: omitted }),
    ...absentees(connections),
    config,
    version: { version: packageVersion(), buildStatus: 'Clean', istioVersion: 'unknown' },
  }
}

const rowsOf = (open: readonly ConnectionRow[], direction: ConnectionRow['direction']) =>
  open
    .filter((one) => one.direction === direction)
    .map(({ source, destination, protocol }) => ({
      src: source,
      originalDst: destination,
      actualDst: destination,
      protocol,
    }))

async function links(dataPlane: DataPlane): Promise<unknown> {
  const view = await dataPlane.links()
  return { links: view.value, ...absentees(view) }
}

/** What a view lacks is said in it. */
const absentees = ({ missing }: View<unknown>) =>
  missing.length === 0 ? {} : { workersNotAnswering: missing }

function logging({ log, dataPlane }: AdminOptions, query: URLSearchParams): Answer {
  const asked = query.has('reset') ? 'info' : query.get('level')
  if (asked === null) return { body: `active log level: ${log.level}\n` }
  const level = LOG_LEVELS.find((one) => one === asked)
  if (level === undefined) {
    const known: readonly LogLevel[] = LOG_LEVELS
    return { status: 400, body: `no such level: ${asked}; one of ${known.join(', ')}\n` }
  }
  dataPlane.setLogLevel(level)
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
