import { BlockList } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { evaluate } from '../../shared/authz/engine.ts'
import type {
  Cidr,
  ConnectionFacts,
  Match,
  Policy,
  PolicySet,
  Rule,
  StringMatch,
} from '../../shared/authz/model.ts'
import { formatIpAddress, parseIpAddress } from '../../shared/runtime/ip-address.ts'

// The spec's words once more, as plainly as they can be written: no compiling, no caching, no early exit, ranges by
// Node's BlockList.

function plainVerdict(set: PolicySet, facts: ConnectionFacts): string {
  const hits = (action: Policy['action']) =>
    set.policies
      .filter((policy) => policy.action === action && !policy.dryRun)
      .map((policy) => policy.rules.some((rule) => plainRule(rule, facts)))
  if (hits('DENY').includes(true)) return 'explicitly-denied'
  if (set.missing.length > 0) return 'policy-missing'
  const allows = hits('ALLOW')
  return allows.length === 0 || allows.includes(true) ? 'allow' : 'not-allowed'
}

const plainRule = (rule: Rule, facts: ConnectionFacts): boolean =>
  rule.every(
    (clause) =>
      clause.length === 0 ||
      clause
        .filter((match) => Object.values(match).some((list: readonly unknown[]) => list.length > 0))
        .some((match) => plainMatch(match, facts)),
  )

function plainMatch(match: Match, facts: ConnectionFacts): boolean {
  const id = /^spiffe:\/\/([^/]*\/ns\/([^/]*)\/sa\/([^/]*))$/.exec(facts.sourceIdentity ?? '')
  const field = <T>(yes: readonly T[], no: readonly T[], test: (value: T) => boolean): boolean =>
    (yes.length === 0 || yes.some(test)) && !no.some(test)
  return [
    field(match.namespaces, match.notNamespaces, (one) => plainString(one, id?.[2] ?? '')),
    field(
      match.principals,
      match.notPrincipals,
      (one) => id !== null && plainString(one, id[1] ?? ''),
    ),
    field(
      match.serviceAccounts,
      match.notServiceAccounts,
      (one) => id !== null && one.namespace === id[2] && one.serviceAccount === id[3],
    ),
    field(match.sourceIps, match.notSourceIps, (one) => plainCidr(one, facts.sourceIp)),
    field(match.destinationIps, match.notDestinationIps, (one) =>
      plainCidr(one, facts.destinationIp),
    ),
    field(
      match.destinationPorts,
      match.notDestinationPorts,
      (one) => one === facts.destinationPort,
    ),
  ].every(Boolean)
}

function plainString(match: StringMatch, text: string): boolean {
  switch (match.kind) {
    case 'exact':
      return match.value === text
    case 'prefix':
      return text.slice(0, match.value.length) === match.value
    case 'suffix':
      return match.value === '' || text.slice(-match.value.length) === match.value
    case 'presence':
      return text.length > 0
  }
}

function plainCidr(cidr: Cidr, address: string): boolean {
  const family = cidr.address.length === 4 ? 'ipv4' : 'ipv6'
  if ((family === 'ipv6') !== address.includes(':')) return false
  const list = new BlockList()
  list.addSubnet(formatIpAddress(cidr.address) ?? '', cidr.length, family)
  return list.check(address, family)
}

const part = fc.constantFrom('a', 'b', 'ab')
const stringMatch: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('exact' as const, 'prefix' as const, 'suffix' as const),
    value: fc.oneof(
      part,
      fc.constant(''),
      fc.constantFrom('a/ns/b/sa/ab', 'a/ns/', '/sa/ab', 'spiffe://a'),
    ),
  }),
  fc.constant({ kind: 'presence' as const }),
)
const addresses = ['10.0.0.1', '10.0.0.2', '10.128.0.1', 'fd00::1', 'fd00:0:0:1::1']
const cidr: fc.Arbitrary<Cidr> = fc
  .tuple(fc.constantFrom(...addresses), fc.nat(128))
  .map(([text, bits]) => {
    const address = parseIpAddress(text) ?? new Uint8Array()
    // BlockList takes no empty prefix; the table tests have it.
    return { address, length: Math.max(1, bits % (address.length * 8 + 1)) }
  })
const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant<T[]>([]) }, fc.array(one, { maxLength: 2 }))
const account = fc.record({ namespace: part, serviceAccount: part })
const port = fc.constantFrom(80, 443)
const match: fc.Arbitrary<Match> = fc.record({
  namespaces: few(stringMatch),
  notNamespaces: few(stringMatch),
  principals: few(stringMatch),
  notPrincipals: few(stringMatch),
  serviceAccounts: few(account),
  notServiceAccounts: few(account),
  sourceIps: few(cidr),
  notSourceIps: few(cidr),
  destinationIps: few(cidr),
  notDestinationIps: few(cidr),
  destinationPorts: few(port),
  notDestinationPorts: few(port),
})
const policy: fc.Arbitrary<Policy> = fc.record({
  key: fc.constant('ns/p'),
  name: fc.constant('p'),
  namespace: fc.constant('ns'),
  scope: fc.constant('NAMESPACE' as const),
  action: fc.constantFrom('ALLOW' as const, 'DENY' as const),
  dryRun: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
  rules: fc.array(fc.array(fc.array(match, { maxLength: 3 }), { maxLength: 2 }), { maxLength: 2 }),
})
const set: fc.Arbitrary<PolicySet> = fc.record({
  policies: fc.array(policy, { maxLength: 4 }),
  missing: fc.constantFrom([], [], [], ['ns/gone']),
})
const facts: fc.Arbitrary<ConnectionFacts> = fc.record({
  sourceIp: fc.constantFrom(...addresses),
  sourceIdentity: fc.oneof(
    fc.constant(undefined),
    fc.tuple(part, part, part).map(([td, ns, sa]) => `spiffe://${td}/ns/${ns}/sa/${sa}`),
    fc.constantFrom('spiffe:///ns//sa/', 'spiffe://a/ns/b', 'a/ns/b/sa/ab', ''),
  ),
  destinationIp: fc.constantFrom(...addresses),
  destinationPort: port,
})

test('the engine decides as the plain reading of the spec does', () => {
  const seen = new Map<string, number>()
  fc.assert(
    fc.property(set, facts, (set, facts) => {
      const decision = evaluate(set, facts)
      const verdict = decision.verdict === 'allow' ? 'allow' : decision.reason
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1)
      expect(verdict).toBe(plainVerdict(set, facts))
      // A policy is compiled once; the second answer must be the first.
      expect(evaluate(set, facts)).toEqual(decision)
    }),
    { numRuns: 20_000 },
  )
  for (const verdict of ['allow', 'explicitly-denied', 'not-allowed', 'policy-missing']) {
    expect(seen.get(verdict) ?? 0, verdict).toBeGreaterThan(100)
  }
})
