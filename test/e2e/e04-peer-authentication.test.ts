import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { type Allowed, all, Callers, meshOnly, only } from './support/callers.ts'
import { applyCase } from './support/case-policies.ts'
import { allow, peers } from './support/security-objects.ts'

let callers: Callers
beforeAll(async () => {
  callers = await Callers.start()
})
afterAll(async () => await callers?.[Symbol.asyncDispose]())

const MESH = { namespace: 'istio-system', selector: null }
const NAMESPACE = { selector: null }

const CASES: readonly (readonly [string, readonly object[], Allowed])[] = [
  ['none', [], all],
  ['STRICT for the pod', [peers('STRICT')], meshOnly],
  ['STRICT for other pods', [peers('STRICT', { selector: { app: 'other' } })], all],
  ['STRICT for the namespace', [peers('STRICT', NAMESPACE)], meshOnly],
  ['STRICT for another namespace', [peers('STRICT', { ...NAMESPACE, namespace: 'shipping' })], all],
  ['STRICT for the mesh', [peers('STRICT', MESH)], meshOnly],
  ['PERMISSIVE', [peers('PERMISSIVE', NAMESPACE)], all],
  ['DISABLE', [peers('DISABLE', NAMESPACE)], all],
  [
    'PERMISSIVE for the namespace in a STRICT mesh',
    [peers('STRICT', MESH), peers('PERMISSIVE', NAMESPACE)],
    all,
  ],
  [
    'STRICT for the pod in a PERMISSIVE namespace',
    [peers('PERMISSIVE', { ...NAMESPACE, name: 'namespace' }), peers('STRICT')],
    meshOnly,
  ],
  [
    'nothing said for the pod in a STRICT namespace',
    [peers('STRICT', { ...NAMESPACE, name: 'namespace' }), peers('UNSET')],
    meshOnly,
  ],
  [
    'STRICT but PERMISSIVE on a port',
    [peers('STRICT', {}, { 9090: 'PERMISSIVE' })],
    ({ who, port }) => who !== 'legacy' || port === 9090,
  ],
  [
    'PERMISSIVE but STRICT on a port',
    [peers('PERMISSIVE', {}, { 9090: 'STRICT' })],
    ({ who, port }) => who !== 'legacy' || port === 8080,
  ],
  [
    'a STRICT mesh but PERMISSIVE on a port of the pod',
    [peers('STRICT', MESH), peers(undefined, {}, { 8080: 'PERMISSIVE' })],
    ({ who, port }) => who !== 'legacy' || port === 8080,
  ],
  ['STRICT and a policy that allows all', [peers('STRICT'), allow([{}])], meshOnly],
]

const fixture = (name: string): string =>
  readFileSync(new URL(`fixtures/${name}.yaml`, import.meta.url), 'utf8')

describe('E4 PeerAuthentication', () => {
  test.each(CASES)('%s', async (_name, objects, allowed) => {
    await applyCase(callers.scene.mesh, 'node-2', objects)
    await callers.expectAllowed(allowed)
  })

  test('the file of the example keeps plaintext out of the namespace', async () => {
    await applyCase(callers.scene.mesh, 'node-2', fixture('peer-authentication-strict'))
    await callers.expectAllowed(meshOnly)
  })

  test('with the other example, order-service alone gets in', async () => {
    const files = ['peer-authentication-strict', 'authorization-policy-principal'].map(fixture)
    await applyCase(callers.scene.mesh, 'node-2', files.join('---\n'))
    await callers.expectAllowed(only('orders'))
  })
})
