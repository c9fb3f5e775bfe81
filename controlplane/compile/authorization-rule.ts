import type {
  Group,
  Match,
  Rules,
  StringMatch,
} from '../../shared/proto/generated/authorization.ts'
import type {
  PolicyCondition,
  PolicyOperation,
  PolicyRule,
  PolicySource,
} from '../kinds/authorization-policy.ts'
import {
  addressMatch,
  emptyMatch,
  isEmptyMatch,
  portMatch,
  serviceAccountMatch,
  stringMatch,
  trustDomainMatch,
} from './authorization-match.ts'

/** What became of one rule of a policy. */
export interface ConvertedRule {
  /** Any may match; none means the rule never matches. */
  readonly groups: readonly Group[]
  /** HTTP attributes, which a data plane of connections cannot see. */
  readonly http: readonly string[]
  /** Values that cannot be read or expressed. */
  readonly bad: readonly string[]
}

/**
 * Converts one rule (controlplane spec, sections 3.1 and 3.2). What cannot be converted never lets more through:
 * an ALLOW rule is dropped whole; of a DENY rule the constraint is dropped, so that it matches more. Only HTTP
 * attributes are as in the spec: an element of a DENY rule that has nothing else becomes an empty match.
 */
export function convertRule(
  rule: PolicyRule,
  action: 'ALLOW' | 'DENY',
  namespace: string,
): ConvertedRule {
  const elements = {
    to: rule.to?.map(({ operation }) => operationElement(operation)),
    from: rule.from?.map(({ source }) => sourceElement(source, namespace)),
    when: rule.when.map((condition) => conditionElement(condition, namespace)),
  }
  const all = [...(elements.to ?? []), ...(elements.from ?? []), ...elements.when]
  const http = all.flatMap((element) => element.http)
  const bad = all.flatMap((element) => element.bad)
  if (action === 'ALLOW' && http.length + bad.length > 0) return { groups: [], http, bad }
  const to = elements.to === undefined ? [] : clause(elements.to)
  const when = elements.when.flatMap((element) => clause([element]))
  const { from } = elements
  if (from === undefined) return { groups: [{ rules: [...to, ...when] }], http, bad }
  if (from.every(({ domains }) => domains.length === 0)) {
    return { groups: [{ rules: [...to, ...clause(from), ...when] }], http, bad }
  }
  // A match has one list of principals: a source that names both principals and trust domains needs two clauses, so
  // every source gets a group of its own.
  const groups = from.map((element) => ({
    rules: [...to, ...clause([element]), ...domainClause(element.domains), ...when],
  }))
  return { groups, http, bad }
}

/** One `from`, `to` or `when`. */
class Element {
  readonly match: Match = emptyMatch()
  readonly http: string[] = []
  readonly bad: string[] = []
  /** Trust domains that must match besides the principals of `match`. */
  domains: StringMatch[] = []

  /** Fills a field; with one bad value a positive constraint goes altogether. */
  only<T>(field: T[], values: readonly string[], parse: (value: string) => T | undefined): void {
    const before = this.bad.length
    const parsed = this.#parse(values, parse)
    if (this.bad.length === before) field.push(...parsed)
  }

  /** Fills a field of values that must not match; a bad value among them goes. */
  not<T>(field: T[], values: readonly string[], parse: (value: string) => T | undefined): void {
    field.push(...this.#parse(values, parse))
  }

  noteHttp(fields: Readonly<Record<string, readonly string[]>>): void {
    for (const [name, values] of Object.entries(fields)) if (values.length > 0) this.http.push(name)
  }

  #parse<T>(values: readonly string[], parse: (value: string) => T | undefined): T[] {
    return values.flatMap((value) => {
      const parsed = parse(value)
      if (parsed === undefined) this.bad.push(value)
      return parsed === undefined ? [] : [parsed]
    })
  }
}

/** None if the clause always matches: one of its elements lost its only constraint to a bad value. */
function clause(elements: readonly Element[]): Rules[] {
  const matchesAll = ({ match, bad, domains }: Element): boolean =>
    isEmptyMatch(match) && (bad.length > 0 || domains.length > 0)
  if (elements.some(matchesAll)) return []
  return [{ matches: elements.map(({ match }) => match) }]
}

function domainClause(domains: readonly StringMatch[]): Rules[] {
  return domains.length === 0 ? [] : [{ matches: [{ ...emptyMatch(), principals: [...domains] }] }]
}

function operationElement(operation: PolicyOperation): Element {
  const { ports, notPorts, ...http } = operation
  const element = new Element()
  element.only(element.match.destinationPorts, ports, portMatch)
  element.not(element.match.notDestinationPorts, notPorts, portMatch)
  element.noteHttp(http)
  return element
}

function sourceElement(source: PolicySource, namespace: string): Element {
  const element = new Element()
  const { match } = element
  const account = (value: string) => serviceAccountMatch(value, namespace)
  element.only(match.principals, source.principals, stringMatch)
  element.not(match.notPrincipals, source.notPrincipals, stringMatch)
  element.only(match.namespaces, source.namespaces, stringMatch)
  element.not(match.notNamespaces, source.notNamespaces, stringMatch)
  element.only(match.serviceAccounts, source.serviceAccounts, account)
  element.not(match.notServiceAccounts, source.notServiceAccounts, account)
  element.only(match.sourceIps, source.ipBlocks, addressMatch)
  element.not(match.notSourceIps, source.notIpBlocks, addressMatch)
  element.only(element.domains, source.trustDomains, trustDomainMatch)
  element.not(match.notPrincipals, source.notTrustDomains, trustDomainMatch)
  if (match.principals.length === 0) {
    match.principals = element.domains
    element.domains = []
  }
  const { requestPrincipals, notRequestPrincipals, remoteIpBlocks, notRemoteIpBlocks } = source
  element.noteHttp({ requestPrincipals, notRequestPrincipals, remoteIpBlocks, notRemoteIpBlocks })
  return element
}

function conditionElement({ key, values, notValues }: PolicyCondition, namespace: string): Element {
  const element = new Element()
  const { match } = element
  const both = <T>(only: T[], not: T[], parse: (value: string) => T | undefined): void => {
    element.only(only, values, parse)
    element.not(not, notValues, parse)
  }
  switch (key) {
    case 'source.ip':
      both(match.sourceIps, match.notSourceIps, addressMatch)
      break
    case 'source.namespace':
      both(match.namespaces, match.notNamespaces, stringMatch)
      break
    case 'source.principal':
      both(match.principals, match.notPrincipals, stringMatch)
      break
    case 'source.trustDomain':
      both(match.principals, match.notPrincipals, trustDomainMatch)
      break
    case 'source.serviceAccount':
      both(match.serviceAccounts, match.notServiceAccounts, (value) =>
        serviceAccountMatch(value, namespace),
      )
      break
    case 'destination.ip':
      both(match.destinationIps, match.notDestinationIps, addressMatch)
      break
    case 'destination.port':
      both(match.destinationPorts, match.notDestinationPorts, portMatch)
      break
    default:
      element.http.push(key)
  }
  return element
}
