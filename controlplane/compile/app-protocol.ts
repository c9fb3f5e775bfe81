import { AppProtocol } from '../../shared/proto/generated/workload.ts'

const STANDARD: ReadonlyMap<string, AppProtocol> = new Map([
  ['kubernetes.io/h2c', AppProtocol.HTTP2],
  ['kubernetes.io/ws', AppProtocol.HTTP11],
  ['kubernetes.io/wss', AppProtocol.TLS],
])

/** Also the names that are known, but have no value of their own on the wire. */
const NAMES: ReadonlyMap<string, AppProtocol> = new Map([
  ['http', AppProtocol.HTTP11],
  ['http2', AppProtocol.HTTP2],
  ['grpc', AppProtocol.GRPC],
  ['tcp', AppProtocol.TCP],
  ['tls', AppProtocol.TLS],
  ['https', AppProtocol.TLS],
  ['udp', AppProtocol.UNKNOWN],
  ['mongo', AppProtocol.UNKNOWN],
  ['redis', AppProtocol.UNKNOWN],
  ['mysql', AppProtocol.UNKNOWN],
  ['http_proxy', AppProtocol.UNKNOWN],
])

/** Protocols in which the server speaks first, by their usual port. */
const SERVER_FIRST: ReadonlySet<number> = new Set([25, 53, 3306, 27_017])

/** What a port carries, by its `appProtocol` or else by the beginning of its name (controlplane spec, section 1.8). */
export function appProtocolOf(port: {
  readonly appProtocol: string | undefined
  readonly name: string | undefined
  readonly protocol: string
  readonly port: number
}): AppProtocol {
  if (port.protocol === 'UDP') return AppProtocol.UNKNOWN
  const standard = STANDARD.get(port.appProtocol ?? '')
  if (standard !== undefined) return standard
  const parsed = parseAppProtocol(port.appProtocol || port.name || '')
  return parsed ?? (SERVER_FIRST.has(port.port) ? AppProtocol.TCP : AppProtocol.UNKNOWN)
}

/** Undefined if the name says nothing. */
export function parseAppProtocol(name: string): AppProtocol | undefined {
  const lower = name.toLowerCase()
  if (lower.startsWith('grpc-web')) return AppProtocol.UNKNOWN
  return NAMES.get(lower.split('-', 1)[0] ?? '')
}
