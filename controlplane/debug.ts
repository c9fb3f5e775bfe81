import { Authorization } from '../shared/proto/generated/authorization.ts'
import { Address } from '../shared/proto/generated/workload.ts'
import type { Answer, Route } from '../shared/runtime/http-endpoint.ts'
import { formatIpAddress } from '../shared/runtime/ip-address.ts'
import type { Compiler } from './compile/compiler.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type Resource } from './compile/resource.ts'
import type { NodeService } from './enroll/node-service.ts'
import type { ObjectSource } from './source/events.ts'
import type { DeltaServer } from './xds/delta-server.ts'
import type { ResourceStore } from './xds/resource-store.ts'

export interface DebugOptions {
  readonly store: ResourceStore
  readonly compiler: Compiler
  readonly source: Pick<ObjectSource, 'problems'>
  readonly xds: DeltaServer
  readonly enrollment: NodeService
  readonly isReady: () => boolean
}

/** Pages for operators: what is served, to whom, and what is wrong with the objects. */
export function debugRoutes(options: DebugOptions): ReadonlyMap<string, Route> {
  const { store, compiler, source, xds, enrollment, isReady } = options
  const page = (content: () => unknown): Route => ({
    methods: ['GET'],
    answer: () => json(content()),
  })
  return new Map<string, Route>([
    [
      '/ready',
      {
        methods: ['GET'],
        answer: () => (isReady() ? { body: 'ready\n' } : { status: 503, body: 'not ready\n' }),
      },
    ],
    [
      '/debug/config_dump',
      page(() => ({
        addresses: [...store.view(ADDRESS_TYPE).all()].map(readable),
        policies: [...store.view(AUTHORIZATION_TYPE).all()].map(readable),
      })),
    ],
    ['/debug/sources', page(() => ({ problems: source.problems(), remarks: compiler.reports() }))],
    ['/debug/nodes', page(() => ({ streams: xds.streams() }))],
    [
      '/debug/enrollment',
      page(() => ({ captured: [...compiler.captured()].sort(), agents: enrollment.agents() })),
    ],
  ])
}

function readable({ typeUrl, name, version, aliases, body }: Resource) {
  const content = typeUrl === ADDRESS_TYPE ? Address.decode(body).type : Authorization.decode(body)
  return { name, version, aliases, content }
}

/** Byte fields are addresses. */
const json = (value: unknown): Answer => ({
  type: 'application/json',
  body: `${JSON.stringify(value, (_key, part: unknown) => printable(part), 2)}\n`,
})

function printable(part: unknown): unknown {
  if (typeof part !== 'object' || part === null || !('type' in part) || part.type !== 'Buffer') {
    return part instanceof Uint8Array ? bytesText(part) : part
  }
  return 'data' in part && Array.isArray(part.data) ? bytesText(Uint8Array.from(part.data)) : part
}

const bytesText = (bytes: Uint8Array): string =>
  formatIpAddress(bytes) ?? Buffer.from(bytes).toString('hex')
