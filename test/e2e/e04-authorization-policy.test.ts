import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Allowed,
  all,
  but,
  type Caller,
  Callers,
  meshOnly,
  nobody,
  only,
} from './support/callers.ts'
import { applyCase } from './support/case-policies.ts'
import { allow, deny, from, type Rule, to, when } from './support/security-objects.ts'

let callers: Callers
beforeAll(async () => {
  callers = await Callers.start()
})
afterAll(async () => await callers?.[Symbol.asyncDispose]())

const ORDERS = 'cluster.local/ns/default/sa/order-service'
const ANALYTICS = 'cluster.local/ns/default/sa/analytics'

/** Addresses are known when the pods are there. */
const addressesOf = (...names: readonly Caller[]): string[] => callers.addressesOf(...names)

type Row<Input> = readonly [string, Input, Allowed]

async function expectAllowedBy(objects: readonly object[], allowed: Allowed): Promise<void> {
  await applyCase(callers.scene.mesh, 'node-2', objects)
  await callers.expectAllowed(allowed)
}

/** Each is the one rule of a policy. As ALLOW it lets these pass, as DENY all others. */
const RULES: readonly Row<() => Rule>[] = [
  ['a principal', () => from({ principals: [ORDERS] }), only('orders')],
  [
    'several principals',
    () => from({ principals: [ORDERS, ANALYTICS] }),
    only('orders', 'analytics'),
  ],
  [
    'principals by their beginning',
    () => from({ principals: ['cluster.local/ns/default/*'] }),
    only('orders', 'analytics'),
  ],
  [
    'principals by their end',
    () => from({ principals: ['*/sa/order-service'] }),
    only('orders', 'shipping'),
  ],
  ['any principal', () => from({ principals: ['*'] }), meshOnly],
  ['not a principal', () => from({ notPrincipals: [ORDERS] }), but('orders')],
  ['no principal at all', () => from({ notPrincipals: ['*'] }), only('legacy')],
  [
    'principals but not one of them',
    () => from({ principals: ['*/sa/order-service'], notPrincipals: [ORDERS] }),
    only('shipping'),
  ],
  ['a namespace', () => from({ namespaces: ['default'] }), only('orders', 'analytics')],
  ['namespaces by their beginning', () => from({ namespaces: ['ship*'] }), only('shipping')],
  ['not a namespace', () => from({ notNamespaces: ['default'] }), only('shipping', 'legacy')],
  [
    'service accounts of the own and of another namespace',
    () => from({ serviceAccounts: ['analytics', 'shipping/order-service'] }),
    only('analytics', 'shipping'),
  ],
  ['a port', () => to({ ports: ['8080'] }), ({ port }) => port === 8080],
  ['not a port', () => to({ notPorts: ['8080'] }), ({ port }) => port === 9090],
  ['addresses', () => from({ ipBlocks: addressesOf('orders') }), only('orders')],
  [
    'an address of one family',
    () => from({ ipBlocks: addressesOf('legacy').slice(0, 1) }),
    ({ who, family }) => who === 'legacy' && family === 4,
  ],
  ['IP blocks', () => from({ ipBlocks: ['10.244.1.0/24', 'fd00:244:1::/64'] }), but('shipping')],
  ['not addresses', () => from({ notIpBlocks: addressesOf('legacy') }), meshOnly],
  [
    'an IP block but not an address in it',
    () => from({ ipBlocks: ['10.244.1.0/24'], notIpBlocks: addressesOf('analytics') }),
    ({ who, family }) => family === 4 && (who === 'orders' || who === 'legacy'),
  ],
  [
    'one source or another',
    () => from({ principals: [ANALYTICS] }, { namespaces: ['shipping'] }),
    only('analytics', 'shipping'),
  ],
  [
    'a source and a port',
    () => ({ ...from({ principals: [ORDERS] }), ...to({ ports: ['9090'] }) }),
    ({ who, port }) => who === 'orders' && port === 9090,
  ],
  [
    'conditions',
    () =>
      when(
        { key: 'source.namespace', values: ['default'] },
        { key: 'source.principal', notValues: [ORDERS] },
        { key: 'destination.port', values: ['8080'] },
      ),
    ({ who, port }) => who === 'analytics' && port === 8080,
  ],
  ['anything', () => ({}), all],
]

const POLICIES: readonly Row<() => readonly object[]>[] = [
  ['no policy allows everyone', () => [], all],
  ['ALLOW without rules allows nobody', () => [allow([])], nobody],
  [
    'any rule of any ALLOW policy is enough',
    () => [
      allow([from({ principals: [ORDERS] }), from({ namespaces: ['shipping'] })]),
      allow([from({ ipBlocks: addressesOf('legacy') })], { name: 'other' }),
    ],
    but('analytics'),
  ],
  [
    'DENY goes before ALLOW',
    () => [
      allow([from({ namespaces: ['default'] })]),
      deny([from({ principals: [ANALYTICS] })], { name: 'other' }),
    ],
    only('orders'),
  ],
  ['a policy for other pods', () => [allow([], { selector: { app: 'other' } })], all],
  ['a policy in another namespace', () => [allow([], { namespace: 'shipping' })], all],
  ['a policy for the whole namespace', () => [allow([], { selector: null })], nobody],
  [
    'a policy in the root namespace, for the whole mesh',
    () => [
      deny([from({ notPrincipals: [ORDERS] })], { namespace: 'istio-system', selector: null }),
    ],
    only('orders'),
  ],
  [
    'HTTP attributes: ALLOW rules that need them allow nobody',
    () => [
      allow([
        { ...from({ principals: [ORDERS] }), ...to({ methods: ['GET'] }) },
        from({ principals: [ANALYTICS] }),
      ]),
    ],
    only('analytics'),
  ],
  [
    'HTTP attributes: DENY rules go without them',
    () => [
      deny([{ ...from({ principals: [ORDERS] }), ...to({ ports: ['8080'], paths: ['/never'] }) }]),
    ],
    ({ who, port }) => who !== 'orders' || port === 9090,
  ],
]

describe('E4 AuthorizationPolicy', () => {
  test.each(RULES)('ALLOW and DENY by %s', async (_name, rule, allowed) => {
    await expectAllowedBy([allow([rule()])], allowed)
    await expectAllowedBy([deny([rule()])], (call) => !allowed(call))
  })

  test.each(POLICIES)('%s', async (_name, policies, allowed) => {
    await expectAllowedBy(policies(), allowed)
  })

  test('the file of the example lets order-service alone call payment', async () => {
    const file = new URL('fixtures/authorization-policy-principal.yaml', import.meta.url)
    await applyCase(callers.scene.mesh, 'node-2', readFileSync(file, 'utf8'))
    await callers.expectAllowed(only('orders'))
  })

  test('the log and the metrics of the refusing ztunnel name the policy and the reason', async () => {
    const { mesh } = callers.scene
    const name = 'no-analytics'
    await applyCase(mesh, 'node-2', [deny([from({ principals: [ANALYTICS] })], { name })])
    await callers.expectAllowed(but('analytics'))
    const line = await mesh
      .ztunnel('node-2')
      .waitForLine(new RegExp(`explicitly denied by: default/${name}`))
    expect(JSON.parse(line)).toMatchObject({
      'src.identity': `spiffe://${ANALYTICS}`,
      'dst.workload': 'payment',
      error: `connection closed due to policy rejection: explicitly denied by: default/${name}`,
    })
    const metrics = await mesh.get(mesh.node('node-2'), 15_020, '/metrics')
    expect(metrics).toMatch(/^ambit_denials_total\{.*reason="explicitly-denied".*\} [1-9]/m)
  })
})
