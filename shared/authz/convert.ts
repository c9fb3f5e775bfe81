import {
  type Address as AddressProto,
  Authorization,
  type Group as GroupProto,
  type Match as MatchProto,
  type StringMatch as StringMatchProto,
} from '../proto/generated/authorization.ts'
import { describeError } from '../runtime/errors.ts'
import { isMapped } from '../runtime/ip-address.ts'
import type { Cidr, Clause, Match, Policy, Rule, StringMatch } from './model.ts'

/** A policy, or everything that is wrong with it: what cannot be enforced exactly is not enforced in part. */
export type PolicyResult =
  | { readonly kind: 'policy'; readonly policy: Policy }
  | {
      readonly kind: 'rejected'
      readonly errors: readonly string[]
      /** Where the policy would have applied, if that much could be read. */
      readonly scope: Policy['scope'] | undefined
    }

/**
 * Reads an `istio.security.Authorization` resource. Unlike its model (ztunnel spec 4.3, last points), which drops
 * what it cannot read and so widens the policy, this refuses: unreadable CIDRs, string matches without a type,
 * ports above 65535, unknown enum values, match extensions, and a body whose name is not the resource's.
 */
export function parseAuthorization(resourceName: string, body: Uint8Array): PolicyResult {
  let proto: Authorization
  try {
    proto = Authorization.decode(body)
  } catch (error) {
    return {
      kind: 'rejected',
      errors: [`not an Authorization: ${describeError(error)}`],
      scope: undefined,
    }
  }
  const errors = new Errors()
  const scope = SCOPES.get(proto.scope)
  if (scope === undefined) errors.add('scope', `unknown value ${proto.scope}`)
  const action = ACTIONS.get(proto.action)
  if (action === undefined) errors.add('action', `unknown value ${proto.action}`)
  if (scope === 'NAMESPACE' && proto.namespace === '') errors.add('namespace', 'empty')
  const key = `${proto.namespace}/${proto.name}`
  if (key !== resourceName) errors.add('name', `the policy calls itself ${JSON.stringify(key)}`)
  const rules = proto.groups.map((group, index) => ruleOf(group, `groups[${index}]`, errors))
  if (scope === undefined || action === undefined || errors.list.length > 0) {
    return { kind: 'rejected', errors: errors.list, scope }
  }
  const { name, namespace, dryRun } = proto
  return { kind: 'policy', policy: { key, name, namespace, scope, action, dryRun, rules } }
}

const SCOPES: ReadonlyMap<number, Policy['scope']> = new Map([
  [0, 'GLOBAL'],
  [1, 'NAMESPACE'],
  [2, 'WORKLOAD_SELECTOR'],
])

const ACTIONS: ReadonlyMap<number, Policy['action']> = new Map([
  [0, 'ALLOW'],
  [1, 'DENY'],
])

/** One answer to the sender names at most this many faults. */
const MOST_ERRORS = 10

class Errors {
  readonly list: string[] = []

  add(path: string, reason: string): void {
    if (this.list.length < MOST_ERRORS) this.list.push(`${path}: ${reason}`)
  }
}

function ruleOf(group: GroupProto, path: string, errors: Errors): Rule {
  return group.rules.map(
    (rules, index): Clause =>
      rules.matches.map((match, at) =>
        matchOf(match, `${path}.rules[${index}].matches[${at}]`, errors),
      ),
  )
}

function matchOf(match: MatchProto, path: string, errors: Errors): Match {
  // An extension is one more condition; to leave it out would let more through.
  if (match.extensions.length > 0) errors.add(`${path}.extensions`, 'not supported')
  const strings = (values: readonly StringMatchProto[], field: string): StringMatch[] =>
    values.flatMap((value, index) => stringMatchOf(value, `${path}.${field}[${index}]`, errors))
  const cidrs = (values: readonly AddressProto[], field: string): Cidr[] =>
    values.flatMap((value, index) => cidrOf(value, `${path}.${field}[${index}]`, errors))
  const ports = (values: readonly number[], field: string): number[] => {
    for (const port of values) if (port > 65_535) errors.add(`${path}.${field}`, `no port: ${port}`)
    return [...values]
  }
  return {
    namespaces: strings(match.namespaces, 'namespaces'),
    notNamespaces: strings(match.notNamespaces, 'not_namespaces'),
    principals: strings(match.principals, 'principals'),
    notPrincipals: strings(match.notPrincipals, 'not_principals'),
    serviceAccounts: match.serviceAccounts.map(serviceAccountOf),
    notServiceAccounts: match.notServiceAccounts.map(serviceAccountOf),
    sourceIps: cidrs(match.sourceIps, 'source_ips'),
    notSourceIps: cidrs(match.notSourceIps, 'not_source_ips'),
    destinationIps: cidrs(match.destinationIps, 'destination_ips'),
    notDestinationIps: cidrs(match.notDestinationIps, 'not_destination_ips'),
    destinationPorts: ports(match.destinationPorts, 'destination_ports'),
    notDestinationPorts: ports(match.notDestinationPorts, 'not_destination_ports'),
  }
}

const serviceAccountOf = (from: {
  namespace: string
  serviceAccount: string
}): { namespace: string; serviceAccount: string } => ({
  namespace: from.namespace,
  serviceAccount: from.serviceAccount,
})

function stringMatchOf(from: StringMatchProto, path: string, errors: Errors): StringMatch[] {
  const type = from.matchType
  if (type === undefined) {
    errors.add(path, 'a string match without a type')
    return []
  }
  if (type.$case === 'presence') return [{ kind: 'presence' }]
  return [{ kind: type.$case, value: type.value }]
}

function cidrOf(from: AddressProto, path: string, errors: Errors): Cidr[] {
  const bytes = Uint8Array.from(from.address)
  if (bytes.length !== 4 && bytes.length !== 16) {
    errors.add(path, `an address of ${bytes.length} bytes`)
    return []
  }
  if (from.length > bytes.length * 8) {
    errors.add(path, `a prefix of ${from.length} bits`)
    return []
  }
  // Connections are never described by IPv4-mapped addresses, so a mapped range means the IPv4 one.
  if (from.length >= 96 && isMapped(bytes)) {
    return [{ address: bytes.subarray(12), length: from.length - 96 }]
  }
  return [{ address: bytes, length: from.length }]
}
