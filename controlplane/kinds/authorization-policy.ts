import { z } from 'zod'
import { ipBlock, labelSelector, list, part } from './fields.ts'
import { namespacedMetadata } from './metadata.ts'

/*
 * Unknown fields are refused inside `spec`, unlike elsewhere: dropping a misspelt condition, selector or action
 * would widen what the policy lets through.
 */

const value = z.string().min(1, { error: 'must not be empty' })
const values = list(value)
const blocks = list(ipBlock)

const PORT = /^\d{1,5}$/
const port = z
  .string()
  .refine(isPort, { error: 'not a port number between 1 and 65535 (as a string)' })
const ports = list(port)

const SERVICE_ACCOUNT = /^(?:[a-z0-9-]+\/)?[a-z0-9][a-z0-9.-]*$/
const serviceAccounts = list(
  z.string().refine(isServiceAccount, {
    error: 'must be a service account, or namespace/service account; wildcards are not supported',
  }),
)

const source = z
  .strictObject({
    principals: values,
    notPrincipals: values,
    requestPrincipals: values,
    notRequestPrincipals: values,
    namespaces: values,
    notNamespaces: values,
    serviceAccounts,
    notServiceAccounts: serviceAccounts,
    trustDomains: values,
    notTrustDomains: values,
    ipBlocks: blocks,
    notIpBlocks: blocks,
    remoteIpBlocks: blocks,
    notRemoteIpBlocks: blocks,
  })
  .superRefine((source, context) => {
    const others = [
      source.principals,
      source.notPrincipals,
      source.namespaces,
      source.notNamespaces,
    ]
    const accounts = source.serviceAccounts.length + source.notServiceAccounts.length
    if (accounts > 0 && others.some((one) => one.length > 0)) {
      const message = 'not together with principals or namespaces'
      context.addIssue({ code: 'custom', path: ['serviceAccounts'], message })
    }
    refuseEmpty(source, context)
  })

const operation = z
  .strictObject({
    hosts: values,
    notHosts: values,
    ports,
    notPorts: ports,
    methods: values,
    notMethods: values,
    paths: values,
    notPaths: values,
  })
  .superRefine(refuseEmpty)

const EXACT_KEYS: ReadonlySet<string> = new Set([
  'source.ip',
  'remote.ip',
  'source.namespace',
  'source.principal',
  'source.serviceAccount',
  'source.trustDomain',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
  'destination.ip',
  'destination.port',
  'connection.sni',
])
const OPEN_KEYS =
  /^(?:request\.headers\[[^\]]+\]|request\.auth\.claims(?:\[[^\]]+\])+|experimental\.envoy\.filters\..+)$/

/** What the values of a key must look like, where that is not free text. */
const VALUE_RULES: ReadonlyMap<string, { test: (value: string) => boolean; reason: string }> =
  new Map([
    ['source.ip', { test: isIpBlock, reason: 'not an IP address or CIDR' }],
    ['remote.ip', { test: isIpBlock, reason: 'not an IP address or CIDR' }],
    ['destination.ip', { test: isIpBlock, reason: 'not an IP address or CIDR' }],
    ['destination.port', { test: isPort, reason: 'not a port number' }],
    ['source.serviceAccount', { test: isServiceAccount, reason: 'not a service account' }],
  ])

const condition = z
  .strictObject({ key: z.string(), values, notValues: values })
  .superRefine((condition, context) => {
    const issue = (path: (string | number)[], message: string): void =>
      context.addIssue({ code: 'custom', path, message })
    if (!EXACT_KEYS.has(condition.key) && !OPEN_KEYS.test(condition.key)) {
      issue(['key'], `unknown attribute ${JSON.stringify(condition.key)}`)
    }
    if (condition.values.length + condition.notValues.length === 0) {
      issue([], 'needs values or notValues')
    }
    const rule = VALUE_RULES.get(condition.key)
    if (rule === undefined) return
    for (const field of ['values', 'notValues'] as const) {
      for (const [index, one] of condition[field].entries()) {
        if (!rule.test(one)) issue([field, index], rule.reason)
      }
    }
  })

const atLeastOne = { error: 'must not be an empty list; leave it out to match everything' }

const rule = z.strictObject({
  from: part(z.array(z.strictObject({ source })).min(1, atLeastOne)),
  to: part(z.array(z.strictObject({ operation })).min(1, atLeastOne)),
  when: list(condition),
})

const targetRef = z.object({ kind: z.string(), name: z.string() })

const spec = z
  .strictObject({
    selector: labelSelector,
    targetRef: part(targetRef),
    targetRefs: list(targetRef),
    action: z
      .enum(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'])
      .nullish()
      .transform((value) => value ?? 'ALLOW'),
    provider: part(z.object({ name: z.string() })),
    rules: list(rule),
  })
  .superRefine((spec, context) => {
    const issue = (path: string[], message: string): void =>
      context.addIssue({ code: 'custom', path, message })
    if (spec.action === 'DENY' && spec.rules.length === 0) {
      issue(['rules'], 'a DENY policy without rules would deny nothing')
    }
    if (
      spec.selector !== undefined &&
      (spec.targetRef !== undefined || spec.targetRefs.length > 0)
    ) {
      issue(['selector'], 'not together with targetRef or targetRefs')
    }
    if (spec.provider !== undefined && spec.action !== 'CUSTOM') {
      issue(['provider'], 'only with action CUSTOM')
    }
  })

const EMPTY_SPEC: z.output<typeof spec> = {
  selector: undefined,
  targetRef: undefined,
  targetRefs: [],
  action: 'ALLOW',
  provider: undefined,
  rules: [],
}

/** An empty spec is Istio's "allow nothing". */
export const AuthorizationPolicy = z.object({
  kind: z.literal('AuthorizationPolicy'),
  metadata: namespacedMetadata,
  spec: spec.nullish().transform((value) => value ?? EMPTY_SPEC),
})
export type AuthorizationPolicy = z.infer<typeof AuthorizationPolicy>
export type PolicyRule = AuthorizationPolicy['spec']['rules'][number]
export type PolicySource = z.infer<typeof source>
export type PolicyOperation = z.infer<typeof operation>
export type PolicyCondition = z.infer<typeof condition>

function refuseEmpty(fields: Record<string, readonly string[]>, context: z.RefinementCtx): void {
  if (Object.values(fields).some((one) => one.length > 0)) return
  context.addIssue({ code: 'custom', message: 'names no condition' })
}

function isPort(text: string): boolean {
  return PORT.test(text) && Number(text) >= 1 && Number(text) <= 65_535
}

function isServiceAccount(text: string): boolean {
  return SERVICE_ACCOUNT.test(text)
}

function isIpBlock(text: string): boolean {
  return ipBlock.safeParse(text).success
}
