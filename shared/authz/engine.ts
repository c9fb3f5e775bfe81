import { AmbitError } from '../runtime/errors.ts'
import { isInPrefix, parseIpAddress } from '../runtime/ip-address.ts'
import type {
  Cidr,
  Clause,
  ConnectionFacts,
  Decision,
  Match,
  Policy,
  PolicySet,
  Rule,
  ServiceAccount,
  StringMatch,
} from './model.ts'
import { type Principal, parsePrincipal } from './principal.ts'

/**
 * Decides about one connection (ztunnel spec 4.2): a matching DENY refuses; a policy that should be here and is not
 * refuses; without any ALLOW policy the rest may pass; with some, one must match. Dry-run policies decide nothing,
 * those that match are named in the decision.
 */
export function evaluate(set: PolicySet, facts: ConnectionFacts): Decision {
  if (set.policies.length === 0 && set.missing.length === 0) return ALLOWED
  const subject = new Subject(facts)
  const dryRun = matchingDryRuns(set.policies, subject)
  for (const policy of set.policies) {
    if (policy.action !== 'DENY' || policy.dryRun) continue
    const rule = matchingRule(policy, subject)
    if (rule !== undefined) {
      return { verdict: 'deny', reason: 'explicitly-denied', policy: policy.key, rule, dryRun }
    }
  }
  const missing = set.missing[0]
  if (missing !== undefined) {
    return { verdict: 'deny', reason: 'policy-missing', policy: missing, rule: undefined, dryRun }
  }
  let allows = false
  for (const policy of set.policies) {
    if (policy.action !== 'ALLOW' || policy.dryRun) continue
    allows = true
    if (matchingRule(policy, subject) !== undefined) {
      return { verdict: 'allow', policy: policy.key, dryRun }
    }
  }
  if (!allows) return { verdict: 'allow', policy: undefined, dryRun }
  return { verdict: 'deny', reason: 'not-allowed', policy: undefined, rule: undefined, dryRun }
}

const NO_DRY_RUNS: readonly string[] = []
const ALLOWED: Decision = { verdict: 'allow', policy: undefined, dryRun: NO_DRY_RUNS }

/** The text of the access log (ztunnel spec 14.2). */
export function explainDeny(decision: Extract<Decision, { verdict: 'deny' }>): string {
  return `connection closed due to policy rejection: ${reasonOf(decision)}`
}

function reasonOf(decision: Extract<Decision, { verdict: 'deny' }>): string {
  switch (decision.reason) {
    case 'explicitly-denied':
      return `explicitly denied by: ${decision.policy ?? 'unknown'}`
    case 'not-allowed':
      return 'allow policies exist, but none allowed'
    case 'policy-missing':
      return `policy not received or invalid: ${decision.policy ?? 'unknown'}`
  }
}

/** Whether `rule` matches; the same code as `evaluate` uses. */
export function matchesRule(rule: Rule, facts: ConnectionFacts): boolean {
  return compileRule(rule)(new Subject(facts))
}

function matchingDryRuns(policies: readonly Policy[], subject: Subject): readonly string[] {
  let names: string[] | undefined
  for (const policy of policies) {
    if (!policy.dryRun || matchingRule(policy, subject) === undefined) continue
    names ??= []
    names.push(policy.key)
  }
  return names ?? NO_DRY_RUNS
}

/** The index of the first rule that matches. */
function matchingRule(policy: Policy, subject: Subject): number | undefined {
  let rules = compiled.get(policy)
  if (rules === undefined) {
    rules = policy.rules.map(compileRule)
    compiled.set(policy, rules)
  }
  for (let index = 0; index < rules.length; index++) if (rules[index]?.(subject)) return index
  return undefined
}

/** The facts, each parsed at most once and only when a policy asks. */
class Subject {
  readonly facts: ConnectionFacts
  #principal: Principal | undefined | 'unread' = 'unread'
  #sourceIp: Uint8Array | undefined
  #destinationIp: Uint8Array | undefined

  constructor(facts: ConnectionFacts) {
    this.facts = facts
  }

  get principal(): Principal | undefined {
    if (this.#principal === 'unread') {
      const { sourceIdentity } = this.facts
      this.#principal = sourceIdentity === undefined ? undefined : parsePrincipal(sourceIdentity)
    }
    return this.#principal
  }

  get sourceIp(): Uint8Array {
    this.#sourceIp ??= bytesOf(this.facts.sourceIp)
    return this.#sourceIp
  }

  get destinationIp(): Uint8Array {
    this.#destinationIp ??= bytesOf(this.facts.destinationIp)
    return this.#destinationIp
  }
}

/** A connection whose addresses cannot be read must not slip past a `not` form, so this throws. */
function bytesOf(address: string): Uint8Array {
  const zone = address.indexOf('%')
  const bytes = parseIpAddress(zone < 0 ? address : address.slice(0, zone))
  if (bytes === undefined) {
    throw new AmbitError('AUTHZ_BAD_ADDRESS', `not an IP address: ${JSON.stringify(address)}`)
  }
  return bytes
}

type Test = (subject: Subject) => boolean

/** Policies are values that never change, so each is compiled once, and forgotten with the policy. */
const compiled = new WeakMap<Policy, readonly Test[]>()

const compileRule = (rule: Rule): Test => allOf(rule.map(compileClause))

function compileClause(clause: Clause): Test {
  if (clause.length === 0) return () => true
  return anyOf(clause.map(compileMatch).filter((test) => test !== undefined))
}

/** Undefined for a match without any condition: it is skipped, it does not match everything. */
function compileMatch(match: Match): Test | undefined {
  const tests: Test[] = []
  const field = <T>(yes: readonly T[], no: readonly T[], test: (values: readonly T[]) => Test) => {
    if (yes.length > 0) tests.push(test(yes))
    if (no.length > 0) tests.push(noneOf(test(no)))
  }
  // Cheap ones first: a match fails as soon as one of them does.
  field(match.destinationPorts, match.notDestinationPorts, portTest)
  field(match.namespaces, match.notNamespaces, (values) => {
    const test = stringTest(values)
    return (subject) => test(subject.principal?.namespace ?? '')
  })
  field(match.principals, match.notPrincipals, (values) => {
    const test = stringTest(values)
    return ({ principal }) => principal !== undefined && test(principal.name)
  })
  field(match.serviceAccounts, match.notServiceAccounts, serviceAccountTest)
  field(match.sourceIps, match.notSourceIps, (values) => {
    const test = cidrTest(values)
    return (subject) => test(subject.sourceIp)
  })
  field(match.destinationIps, match.notDestinationIps, (values) => {
    const test = cidrTest(values)
    return (subject) => test(subject.destinationIp)
  })
  return tests.length === 0 ? undefined : allOf(tests)
}

const noneOf =
  (test: Test): Test =>
  (subject) =>
    !test(subject)

function allOf(tests: readonly Test[]): Test {
  return (subject) => {
    for (const test of tests) if (!test(subject)) return false
    return true
  }
}

function anyOf(tests: readonly Test[]): Test {
  return (subject) => {
    for (const test of tests) if (test(subject)) return true
    return false
  }
}

function portTest(ports: readonly number[]): Test {
  const wanted = new Set(ports)
  return (subject) => wanted.has(subject.facts.destinationPort)
}

function serviceAccountTest(accounts: readonly ServiceAccount[]): Test {
  const wanted = new Set(accounts.map(accountKey))
  return ({ principal }) => principal !== undefined && wanted.has(accountKey(principal))
}

/** No part of a principal contains a slash, so a key of a policy that has more than one equals no principal's. */
const accountKey = (account: ServiceAccount): string =>
  `${account.namespace}/${account.serviceAccount}`

function stringTest(values: readonly StringMatch[]): (text: string) => boolean {
  const exact = new Set<string>()
  const patterns: StringMatch[] = []
  for (const value of values) {
    if (value.kind === 'exact') exact.add(value.value)
    else patterns.push(value)
  }
  return (text) => {
    if (exact.has(text)) return true
    for (const pattern of patterns) if (matchesPattern(pattern, text)) return true
    return false
  }
}

function matchesPattern(pattern: StringMatch, text: string): boolean {
  switch (pattern.kind) {
    case 'exact':
      return text === pattern.value
    case 'prefix':
      return text.startsWith(pattern.value)
    case 'suffix':
      return text.endsWith(pattern.value)
    case 'presence':
      return text !== ''
  }
}

function cidrTest(cidrs: readonly Cidr[]): (address: Uint8Array) => boolean {
  return (address) => {
    for (const cidr of cidrs) if (isInPrefix(address, cidr.address, cidr.length)) return true
    return false
  }
}
