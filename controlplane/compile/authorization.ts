import {
  Action,
  type Authorization,
  type Group,
  Scope,
} from '../../shared/proto/generated/authorization.ts'
import type { AuthorizationPolicy } from '../kinds/authorization-policy.ts'
import { isEmptyMatch } from './authorization-match.ts'
import { convertRule } from './authorization-rule.ts'
import type { Remark } from './remark.ts'

export interface ConvertedPolicy {
  /** Undefined if nothing of the policy is for the data plane of connections. */
  readonly authorization: Authorization | undefined
  readonly remarks: readonly Remark[]
}

/** Converts a policy for node proxies (controlplane spec, sections 3.1 and 3.2). */
export function convertPolicy(policy: AuthorizationPolicy, rootNamespace: string): ConvertedPolicy {
  const refusal = refusalOf(policy)
  if (refusal !== undefined) return { authorization: undefined, remarks: [refusal] }
  const { metadata, spec } = policy
  const action = spec.action === 'DENY' ? 'DENY' : 'ALLOW'
  const rules = spec.rules.map((rule) => convertRule(rule, action, metadata.namespace))
  const groups = rules.flatMap((rule) => rule.groups)
  const authorization: Authorization = {
    name: metadata.name,
    namespace: metadata.namespace,
    scope: scopeOf(policy, rootNamespace),
    action: Action[action],
    groups,
    dryRun: false,
    extensions: [],
  }
  const http = rules.flatMap((rule) => rule.http)
  const bad = rules.flatMap((rule) => rule.bad)
  const remarks: Remark[] = []
  if (http.length > 0) remarks.push(httpRemark(http, action, groups))
  if (bad.length > 0) remarks.push(badRemark(bad, action))
  return { authorization, remarks }
}

/** Whether workloads refer to the policy, and by which labels. */
export function policySelectorOf(
  policy: AuthorizationPolicy,
): Readonly<Record<string, string>> | undefined {
  return refusalOf(policy) === undefined ? policy.spec.selector?.matchLabels : undefined
}

function scopeOf({ metadata, spec }: AuthorizationPolicy, rootNamespace: string): Scope {
  if (spec.selector !== undefined) return Scope.WORKLOAD_SELECTOR
  return metadata.namespace === rootNamespace ? Scope.GLOBAL : Scope.NAMESPACE
}

/** Why a policy is not sent at all. */
function refusalOf({ metadata, spec }: AuthorizationPolicy): Remark | undefined {
  if (spec.targetRef !== undefined || spec.targetRefs.length > 0) {
    const message = 'policies with targetRef are for waypoints; node proxies do not enforce them'
    return { reason: 'NoEffect', message }
  }
  if (metadata.annotations['istio.io/dry-run'] === 'true') {
    return { reason: 'UnsupportedValue', message: 'dry-run policies are not sent to node proxies' }
  }
  if (spec.action === 'AUDIT' || spec.action === 'CUSTOM') {
    const message = `ztunnel does not support the ${spec.action} action`
    return { reason: 'UnsupportedValue', message }
  }
  return undefined
}

function httpRemark(
  found: readonly string[],
  action: 'ALLOW' | 'DENY',
  groups: readonly Group[],
): Remark {
  const names = [...new Set(found)].sort().join(', ')
  const general = `ztunnel does not support HTTP attributes (found: ${names}). In ambient mode you must use a waypoint proxy to enforce HTTP rules.`
  return { reason: 'UnsupportedValue', message: `${general} ${consequenceOf(action, groups)}` }
}

function consequenceOf(action: 'ALLOW' | 'DENY', groups: readonly Group[]): string {
  if (action === 'ALLOW') {
    return 'Within an ALLOW policy, rules matching HTTP attributes are omitted. This is more restrictive than requested.'
  }
  const idle = groups.some(({ rules }) => rules.some(({ matches }) => matches.every(isEmptyMatch)))
  if (idle) {
    return 'Within a DENY policy, rules of HTTP attributes alone have no effect. Deploy a waypoint and use targetRef.'
  }
  return 'Within a DENY policy, rules are enforced without their HTTP attributes. This is more restrictive than requested.'
}

function badRemark(bad: readonly string[], action: 'ALLOW' | 'DENY'): Remark {
  const values = bad.map((value) => JSON.stringify(value)).join(', ')
  const consequence =
    action === 'ALLOW'
      ? 'The rules that hold them allow nothing.'
      : 'The rules that hold them deny whatever those values might have been.'
  return {
    reason: 'InvalidValue',
    message: `cannot be enforced by node proxies: ${values}. ${consequence}`,
  }
}
