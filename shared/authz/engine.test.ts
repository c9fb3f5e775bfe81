import { describe, expect, test } from 'vitest'
import { parseIpAddress } from '../runtime/ip-address.ts'
import { evaluate, explainDeny, matchesRule } from './engine.ts'
import type { Cidr, ConnectionFacts, Decision, Match, Policy, PolicySet, Rule } from './model.ts'

const EMPTY: Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
}
const match = (given: Partial<Match>): Match => ({ ...EMPTY, ...given })
const exact = (value: string) => ({ kind: 'exact', value }) as const
const prefix = (value: string) => ({ kind: 'prefix', value }) as const
const suffix = (value: string) => ({ kind: 'suffix', value }) as const
const presence = { kind: 'presence' } as const
const cidr = (text: string): Cidr => {
  const [address = '', length] = text.split('/')
  const bytes = parseIpAddress(address)
  if (bytes === undefined) throw new Error(text)
  return { address: bytes, length: Number(length) }
}
const policy = (given: { name: string } & Partial<Policy>): Policy => ({
  key: `ns/${given.name}`,
  namespace: 'ns',
  scope: 'NAMESPACE',
  action: 'ALLOW',
  dryRun: false,
  rules: [],
  ...given,
})
const setOf = (...policies: Policy[]): PolicySet => ({ policies, missing: [] })

const MTLS: ConnectionFacts = {
  sourceIp: '10.0.0.1',
  sourceIdentity: 'spiffe://td/ns/shop/sa/front',
  destinationIp: '10.0.0.2',
  destinationPort: 8080,
}
const PLAIN: ConnectionFacts = { ...MTLS, sourceIdentity: undefined }
const V6: ConnectionFacts = { ...MTLS, sourceIp: 'fd00::1', destinationIp: 'fd00::2' }

describe('matchesRule', () => {
  const ofMatch = (given: Partial<Match>): Rule => [[match(given)]]
  const cases: [string, Rule, ConnectionFacts, boolean][] = [
    ['rule with no clauses matches', [], PLAIN, true],
    ['clause with no matches matches', [[]], PLAIN, true],
    ['a match with all lists empty is skipped', [[EMPTY]], MTLS, false],
    [
      'an empty match beside one that matches is skipped',
      [[EMPTY, match({ destinationPorts: [8080] })]],
      MTLS,
      true,
    ],
    [
      'clauses are ANDed: all match',
      [[match({ destinationPorts: [8080] })], [match({ namespaces: [exact('shop')] })]],
      MTLS,
      true,
    ],
    [
      'clauses are ANDed: one does not',
      [[match({ destinationPorts: [8080] })], [match({ namespaces: [exact('x')] })]],
      MTLS,
      false,
    ],
    [
      'matches of a clause are ORed',
      [[match({ destinationPorts: [1] }), match({ destinationPorts: [8080] })]],
      MTLS,
      true,
    ],
    [
      'fields of a match are ANDed',
      ofMatch({ destinationPorts: [8080], namespaces: [exact('x')] }),
      MTLS,
      false,
    ],
    ['values of a field are ORed', ofMatch({ destinationPorts: [1, 8080] }), MTLS, true],
    ['port other', ofMatch({ destinationPorts: [80] }), MTLS, false],
    ['not port', ofMatch({ notDestinationPorts: [80] }), MTLS, true],
    ['not port hit', ofMatch({ notDestinationPorts: [80, 8080] }), MTLS, false],
    [
      'positive and negative of one field: both count',
      ofMatch({ destinationPorts: [8080], notDestinationPorts: [8080] }),
      MTLS,
      false,
    ],
    [
      'principal without scheme',
      ofMatch({ principals: [exact('td/ns/shop/sa/front')] }),
      MTLS,
      true,
    ],
    [
      'principal pattern with scheme never matches',
      ofMatch({ principals: [exact('spiffe://td/ns/shop/sa/front')] }),
      MTLS,
      false,
    ],
    ['principal prefix', ofMatch({ principals: [prefix('td/ns/shop/')] }), MTLS, true],
    ['principal suffix', ofMatch({ principals: [suffix('/sa/front')] }), MTLS, true],
    ['principal presence', ofMatch({ principals: [presence] }), MTLS, true],
    ['principal presence on plaintext', ofMatch({ principals: [presence] }), PLAIN, false],
    ['principal empty prefix on plaintext', ofMatch({ principals: [prefix('')] }), PLAIN, false],
    ['not principal presence on plaintext', ofMatch({ notPrincipals: [presence] }), PLAIN, true],
    ['not principal presence with identity', ofMatch({ notPrincipals: [presence] }), MTLS, false],
    [
      'an identity that is not SPIFFE counts as none',
      ofMatch({ notPrincipals: [presence] }),
      { ...MTLS, sourceIdentity: 'https://td/ns/shop/sa/front' },
      true,
    ],
    ['namespace', ofMatch({ namespaces: [exact('shop')] }), MTLS, true],
    ['namespace on plaintext', ofMatch({ namespaces: [exact('shop')] }), PLAIN, false],
    ['namespace presence on plaintext', ofMatch({ namespaces: [presence] }), PLAIN, false],
    [
      'not namespace passes for plaintext',
      ofMatch({ notNamespaces: [exact('shop')] }),
      PLAIN,
      true,
    ],
    ['not namespace hit', ofMatch({ notNamespaces: [exact('shop')] }), MTLS, false],
    [
      'service account, trust domain ignored',
      ofMatch({ serviceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] }),
      { ...MTLS, sourceIdentity: 'spiffe://other/ns/shop/sa/front' },
      true,
    ],
    [
      'service account of another namespace',
      ofMatch({ serviceAccounts: [{ namespace: 'x', serviceAccount: 'front' }] }),
      MTLS,
      false,
    ],
    [
      'service account on plaintext',
      ofMatch({ serviceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] }),
      PLAIN,
      false,
    ],
    [
      'not service account passes for plaintext',
      ofMatch({ notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] }),
      PLAIN,
      true,
    ],
    [
      'not service account hit',
      ofMatch({ notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'front' }] }),
      MTLS,
      false,
    ],
    [
      'a slash in a policy does not forge a service account',
      ofMatch({ serviceAccounts: [{ namespace: 'shop/front', serviceAccount: '' }] }),
      MTLS,
      false,
    ],
    ['source in range', ofMatch({ sourceIps: [cidr('10.0.0.0/30')] }), MTLS, true],
    ['source outside range', ofMatch({ sourceIps: [cidr('10.0.0.4/30')] }), MTLS, false],
    [
      'host bits of a range do not count',
      ofMatch({ sourceIps: [cidr('10.0.0.3/30')] }),
      MTLS,
      true,
    ],
    ['everything of IPv4', ofMatch({ sourceIps: [cidr('0.0.0.0/0')] }), MTLS, true],
    ['IPv4 range does not hold IPv6', ofMatch({ sourceIps: [cidr('0.0.0.0/0')] }), V6, false],
    ['not source', ofMatch({ notSourceIps: [cidr('10.0.0.1/32')] }), MTLS, false],
    ['not source other', ofMatch({ notSourceIps: [cidr('10.0.0.9/32')] }), MTLS, true],
    ['destination', ofMatch({ destinationIps: [cidr('10.0.0.2/32')] }), MTLS, true],
    ['destination other', ofMatch({ destinationIps: [cidr('10.0.0.1/32')] }), MTLS, false],
    ['not destination', ofMatch({ notDestinationIps: [cidr('10.0.0.2/32')] }), MTLS, false],
    ['IPv6 in range', ofMatch({ sourceIps: [cidr('fd00::/64')] }), V6, true],
    ['IPv6 destination, 127 bits', ofMatch({ destinationIps: [cidr('fd00::3/127')] }), V6, true],
    ['IPv6 exact other', ofMatch({ sourceIps: [cidr('fd00::3/128')] }), V6, false],
    [
      'IPv4-mapped source is IPv4',
      ofMatch({ sourceIps: [cidr('10.0.0.1/32')] }),
      { ...MTLS, sourceIp: '::ffff:10.0.0.1' },
      true,
    ],
    [
      'link-local source with zone',
      ofMatch({ sourceIps: [cidr('fe80::/10')] }),
      { ...V6, sourceIp: 'fe80::1%eth0' },
      true,
    ],
  ]
  test.for(cases)('%s', ([, rule, facts, expected]) => {
    expect(matchesRule(rule, facts)).toBe(expected)
  })

  test('an address that cannot be read does not slip past a not form', () => {
    const rule: Rule = [[match({ notSourceIps: [cidr('10.0.0.0/8')] })]]
    expect(() => matchesRule(rule, { ...MTLS, sourceIp: 'nonsense' })).toThrow(/not an IP address/)
  })
})

describe('evaluate', () => {
  const denyPort = policy({
    name: 'deny-port',
    action: 'DENY',
    rules: [[[match({ destinationPorts: [1] })]], [[match({ destinationPorts: [8080] })]]],
  })
  const allowShop = policy({
    name: 'allow-shop',
    rules: [[[match({ namespaces: [exact('shop')] })]]],
  })
  const allowOther = policy({
    name: 'allow-other',
    rules: [[[match({ namespaces: [exact('x')] })]]],
  })
  const dry = (one: Policy): Policy => ({ ...one, key: `${one.key}-dry`, dryRun: true })
  const allow = (policy?: string, dryRun: string[] = []): Decision => ({
    verdict: 'allow',
    policy,
    dryRun,
  })
  const notAllowed: Decision = {
    verdict: 'deny',
    reason: 'not-allowed',
    policy: undefined,
    rule: undefined,
    dryRun: [],
  }
  const cases: [string, PolicySet, Decision][] = [
    ['no policies: allow', setOf(), allow()],
    [
      'a DENY that matches, with the index of its rule',
      setOf(allowShop, denyPort),
      {
        verdict: 'deny',
        reason: 'explicitly-denied',
        policy: 'ns/deny-port',
        rule: 1,
        dryRun: [],
      },
    ],
    ['only DENY policies, none matches: allow', setOf({ ...denyPort, rules: [] }), allow()],
    ['an ALLOW matches', setOf(allowOther, allowShop), allow('ns/allow-shop')],
    ['ALLOW policies, none matches', setOf(allowOther), notAllowed],
    ['an ALLOW without rules allows nothing', setOf(policy({ name: 'none' })), notAllowed],
    [
      'an ALLOW whose rule is empty allows all',
      setOf(policy({ name: 'all', rules: [[]] })),
      allow('ns/all'),
    ],
    [
      'a dry-run DENY decides nothing',
      setOf(dry(denyPort)),
      allow(undefined, ['ns/deny-port-dry']),
    ],
    ['a dry-run ALLOW that does not match decides nothing', setOf(dry(allowOther)), allow()],
    [
      'a dry-run ALLOW that matches does not allow',
      setOf(dry(allowShop), allowOther),
      { ...notAllowed, dryRun: ['ns/allow-shop-dry'] },
    ],
    [
      'a missing policy denies although an ALLOW matches',
      { policies: [allowShop], missing: ['ns/gone'] },
      {
        verdict: 'deny',
        reason: 'policy-missing',
        policy: 'ns/gone',
        rule: undefined,
        dryRun: [],
      },
    ],
    [
      'a missing policy denies without any other',
      { policies: [], missing: ['ns/gone'] },
      {
        verdict: 'deny',
        reason: 'policy-missing',
        policy: 'ns/gone',
        rule: undefined,
        dryRun: [],
      },
    ],
    [
      'an explicit denial is named before a missing policy',
      { policies: [denyPort], missing: ['ns/gone'] },
      {
        verdict: 'deny',
        reason: 'explicitly-denied',
        policy: 'ns/deny-port',
        rule: 1,
        dryRun: [],
      },
    ],
  ]
  test.for(cases)('%s', ([, set, expected]) => {
    expect(evaluate(set, MTLS)).toEqual(expected)
  })

  test('STRICT, as istiod writes it, refuses plaintext and lets identities pass', () => {
    const strict = policy({
      name: 'strict',
      action: 'DENY',
      rules: [[[match({ notPrincipals: [presence] })]]],
    })
    expect(evaluate(setOf(strict), PLAIN).verdict).toBe('deny')
    expect(evaluate(setOf(strict), MTLS).verdict).toBe('allow')
  })

  test('explains denials with the texts that users know', () => {
    const texts = [
      evaluate(setOf(denyPort), MTLS),
      evaluate(setOf(allowOther), MTLS),
      evaluate({ policies: [], missing: ['ns/gone'] }, MTLS),
    ].map((decision) => (decision.verdict === 'deny' ? explainDeny(decision) : 'allowed'))
    expect(texts).toEqual([
      'connection closed due to policy rejection: explicitly denied by: ns/deny-port',
      'connection closed due to policy rejection: allow policies exist, but none allowed',
      'connection closed due to policy rejection: policy not received or invalid: ns/gone',
    ])
  })
})
