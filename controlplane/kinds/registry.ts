import { z } from 'zod'
import { AuthorizationPolicy } from './authorization-policy.ts'
import { EndpointSlice } from './endpoint-slice.ts'
import { Namespace } from './namespace.ts'
import { Node } from './node.ts'
import { PeerAuthentication } from './peer-authentication.ts'
import { Pod } from './pod.ts'
import { Service } from './service.ts'
import { ServiceAccount } from './service-account.ts'
import { ServiceEntry } from './service-entry.ts'
import { WorkloadEntry } from './workload-entry.ts'

/** Every object the mesh is made of. */
export type MeshObject =
  | AuthorizationPolicy
  | EndpointSlice
  | Namespace
  | Node
  | PeerAuthentication
  | Pod
  | Service
  | ServiceAccount
  | ServiceEntry
  | WorkloadEntry

export type ObjectKind = MeshObject['kind']

/** Which object is meant; `namespace` is empty for objects that belong to none. */
export interface ObjectRef {
  readonly kind: ObjectKind
  readonly namespace: string
  readonly name: string
}

export const refOf = ({ kind, metadata: { namespace, name } }: MeshObject): ObjectRef => ({
  kind,
  namespace,
  name,
})

/** `Kind/namespace/name`, unique in a mesh. */
export const keyOf = ({ kind, namespace, name }: ObjectRef): string =>
  `${kind}/${namespace}/${name}`

/** One thing wrong with an object, and where: `spec.rules[0].to[0].operation.ports[1]`. */
export interface Fault {
  readonly path: string
  readonly reason: string
}

export type ParsedObject =
  | { readonly outcome: 'object'; readonly object: MeshObject }
  /** A kind that the mesh does not use; `type` is `apiVersion Kind`. */
  | { readonly outcome: 'unused'; readonly type: string }
  /** `ref` is known if at least the kind and the name could be read. */
  | { readonly outcome: 'invalid'; readonly ref: ObjectRef | undefined; readonly faults: Fault[] }

interface Served {
  readonly versions: readonly string[]
  readonly schema: z.ZodType<MeshObject>
}

const SECURITY = ['v1', 'v1beta1']
const NETWORKING = ['v1', 'v1beta1', 'v1alpha3']

/** By API group and kind. */
const KINDS: ReadonlyMap<string, Served> = new Map<string, Served>([
  ['/Namespace', { versions: ['v1'], schema: Namespace }],
  ['/Node', { versions: ['v1'], schema: Node }],
  ['/Pod', { versions: ['v1'], schema: Pod }],
  ['/Service', { versions: ['v1'], schema: Service }],
  ['/ServiceAccount', { versions: ['v1'], schema: ServiceAccount }],
  ['discovery.k8s.io/EndpointSlice', { versions: ['v1'], schema: EndpointSlice }],
  ['networking.istio.io/ServiceEntry', { versions: NETWORKING, schema: ServiceEntry }],
  ['networking.istio.io/WorkloadEntry', { versions: NETWORKING, schema: WorkloadEntry }],
  ['security.istio.io/AuthorizationPolicy', { versions: SECURITY, schema: AuthorizationPolicy }],
  ['security.istio.io/PeerAuthentication', { versions: SECURITY, schema: PeerAuthentication }],
])

const envelope = z.object({
  apiVersion: z.string().min(1),
  kind: z.string().min(1),
})

/** One object is blamed for at most this many faults at a time. */
const MOST_FAULTS = 10

/** Reads one object of any kind, as it was written. */
export function parseObject(input: unknown): ParsedObject {
  const head = envelope.safeParse(input)
  if (!head.success) return { outcome: 'invalid', ref: undefined, faults: faultsOf(head.error) }
  const { apiVersion, kind } = head.data
  const slash = apiVersion.indexOf('/')
  const group = slash < 0 ? '' : apiVersion.slice(0, slash)
  const served = KINDS.get(`${group}/${kind}`)
  if (served === undefined) return { outcome: 'unused', type: `${apiVersion} ${kind}` }
  if (!served.versions.includes(apiVersion.slice(slash + 1))) {
    const known = served.versions.map((version) => (group === '' ? version : `${group}/${version}`))
    const reason = `${apiVersion} is not served; use ${known.join(', ')}`
    const ref = looseRefOf(served, input)
    return { outcome: 'invalid', ref, faults: [{ path: 'apiVersion', reason }] }
  }
  const parsed = served.schema.safeParse(input)
  if (parsed.success) return { outcome: 'object', object: parsed.data }
  return { outcome: 'invalid', ref: looseRefOf(served, input), faults: faultsOf(parsed.error) }
}

const named = z.object({
  kind: z.enum([
    'AuthorizationPolicy',
    'EndpointSlice',
    'Namespace',
    'Node',
    'PeerAuthentication',
    'Pod',
    'Service',
    'ServiceAccount',
    'ServiceEntry',
    'WorkloadEntry',
  ]),
  metadata: z.object({ name: z.string().min(1), namespace: z.string().nullish() }),
})

/** Which object an invalid one meant to be. */
function looseRefOf(served: Served, input: unknown): ObjectRef | undefined {
  const parsed = named.safeParse(input)
  if (!parsed.success) return undefined
  const { kind, metadata } = parsed.data
  const namespaced = served.schema !== Namespace && served.schema !== Node
  return { kind, namespace: namespaced ? metadata.namespace || 'default' : '', name: metadata.name }
}

function faultsOf(error: z.ZodError): Fault[] {
  return error.issues.slice(0, MOST_FAULTS).map((issue) => {
    const path = pathText(issue.path)
    return { path, reason: reasonOf(issue) }
  })
}

function reasonOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return `unknown field ${issue.keys.join(', ')}`
  if (issue.code === 'invalid_union') {
    const inner = issue.errors.flat().map((one) => one.message)
    if (inner.length > 0) return [...new Set(inner)].join(', or: ')
  }
  if (issue.code === 'invalid_key') return issue.issues.map((one) => one.message).join(', ')
  return issue.message
}

function pathText(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[A-Za-z_$][\w$]*$/.test(String(step)))
      text += text === '' ? String(step) : `.${String(step)}`
    else text += `[${JSON.stringify(String(step))}]`
  }
  return text
}
