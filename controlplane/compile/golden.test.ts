import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import {
  Action,
  Authorization,
  Scope,
  type StringMatch,
} from '../../shared/proto/generated/authorization.ts'
import {
  Address,
  AppProtocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
} from '../../shared/proto/generated/workload.ts'
import { formatIpAddress } from '../../shared/runtime/ip-address.ts'
import { parseObjectFile } from '../source/object-file.ts'
import { Compiler } from './compiler.ts'
import { DEFAULT_MESH_OPTIONS } from './mesh-options.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type Resource } from './resource.ts'

const golden = new URL('./golden/', import.meta.url)
const cases = readdirSync(golden).filter(
  (name) => name.endsWith('.yaml') && !name.endsWith('.expected.yaml'),
)

/** Fields whose numbers have names. */
const ENUMS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  action: Action,
  scope: Scope,
  appProtocol: AppProtocol,
  ipFamilies: IPFamilies,
  healthPolicy: LoadBalancing_HealthPolicy,
  mode: LoadBalancing_Mode,
  routingPreference: LoadBalancing_Scope,
  networkMode: NetworkMode,
  tunnelProtocol: TunnelProtocol,
  status: WorkloadStatus,
  workloadType: WorkloadType,
}

/** Without what the wire leaves out too, except where a zero says something. */
function readable(value: unknown, field = ''): unknown {
  if (value instanceof Uint8Array) return formatIpAddress(value)
  if (Array.isArray(value)) return value.map((one) => readable(one, field))
  if (typeof value === 'number' && field in ENUMS) {
    return Object.entries(ENUMS[field] ?? {}).find(([, number]) => number === value)?.[0]
  }
  if (typeof value !== 'object' || value === null) return value
  if ('matchType' in value) return stringMatch((value as StringMatch).matchType)
  const kept = Object.entries(value).filter(
    ([, one]) =>
      one !== undefined &&
      one !== '' &&
      one !== false &&
      one !== 0 &&
      !(Array.isArray(one) && one.length === 0),
  )
  return Object.fromEntries(kept.map(([key, one]) => [key, readable(one, key)]))
}

function stringMatch(type: StringMatch['matchType']): string {
  if (type === undefined) return 'nothing'
  return type.$case === 'presence' ? 'presence' : `${type.$case} ${type.value}`
}

function decode({ typeUrl, body, aliases }: Resource): unknown {
  if (typeUrl === AUTHORIZATION_TYPE) return readable(Authorization.decode(body))
  const { type } = Address.decode(body)
  const workload = type?.$case === 'workload' ? { tunnelProtocol: type.value.tunnelProtocol } : {}
  return {
    [type?.$case ?? 'nothing']: {
      ...(readable(type?.value) as object),
      ...(readable(workload) as object),
      aliases,
    },
  }
}

test.for(cases)('compiles %s', async (name) => {
  const text = readFileSync(new URL(name, golden), 'utf8')
  const { claims, problems } = parseObjectFile(name, text)
  expect(problems).toEqual([])
  const compiler = new Compiler(DEFAULT_MESH_OPTIONS)
  compiler.apply(
    claims.flatMap(({ object }) => (object === undefined ? [] : [{ type: 'put', object }])),
  )
  const captured = /^# captured: (.+)$/m.exec(text)?.[1]?.split(', ') ?? []
  for (const uid of captured) compiler.setCaptured(uid, true)
  const byName = (typeUrl: string): Record<string, unknown> => {
    const resources = [...compiler.resources(typeUrl).values()]
    resources.sort((a, b) => (a.name < b.name ? -1 : 1))
    return Object.fromEntries(resources.map((resource) => [resource.name, decode(resource)]))
  }
  const result = {
    addresses: byName(ADDRESS_TYPE),
    authorizations: byName(AUTHORIZATION_TYPE),
    reports: compiler
      .reports()
      .map(
        ({ object, reason, message }) =>
          `${object.namespace}/${object.name}: ${reason}: ${message}`,
      )
      .sort(),
  }
  const expected = `./golden/${name.replace('.yaml', '.expected.yaml')}`
  await expect(stringify(result, { lineWidth: 100 })).toMatchFileSnapshot(expected)
})
