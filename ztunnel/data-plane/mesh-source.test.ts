import { describe, expect, test } from 'vitest'
import { MeshStore } from '../../shared/mesh/store.ts'
import { policyResource, workloadResource } from '../../shared/mesh/testing-mesh.ts'
import { Action, Scope } from '../../shared/proto/generated/authorization.ts'
import { MeshSource } from './mesh-source.ts'
import type { MeshUpdate } from './messages.ts'

const workload = (name: string, node = 'node-1') =>
  workloadResource({
    uid: `Kubernetes//Pod/default/${name}`,
    name,
    node,
    addresses: [Buffer.from([10, 0, 0, name.charCodeAt(0)])],
  })

const policy = (name: string) =>
  policyResource({
    name,
    namespace: 'default',
    scope: Scope.NAMESPACE,
    action: Action.DENY,
    groups: [{ rules: [] }],
  })

const broken = { name: 'default/broken', body: Uint8Array.of(0xff) }

function applied(updates: Iterable<MeshUpdate>): MeshStore {
  const store = new MeshStore()
  for (const { kind, upserts, removed } of updates) {
    if (kind === 'addresses') store.applyAddresses(upserts, removed)
    else store.applyPolicies(upserts, removed)
  }
  return store
}

describe('MeshSource', () => {
  test('a worker gets to the same state by every update, and by the replay alone', () => {
    const source = new MeshSource()
    const updates: MeshUpdate[] = []
    source.onUpdate((update) => updates.push(update))
    source.applyAddresses([workload('a'), workload('b')], [])
    source.applyPolicies([policy('p'), policy('q')], [])
    expect(source.applyPolicies([broken], [])).toMatchObject([{ name: broken.name }])
    source.applyAddresses([workload('a', 'node-2'), { name: 'x', body: broken.body }], [])
    source.applyAddresses([], [workload('b').name])
    source.applyPolicies([{ ...broken, name: 'default/p' }], ['default/q'])
    const known = source.store.workloadByUid(workload('a').name)
    expect(known?.node).toBe('node-2')
    for (const store of [applied(updates), applied(source.replay())]) {
      expect(store.dump()).toEqual(source.store.dump())
      const own = store.workloadByUid(workload('a').name)
      // The broken policy denies here as well.
      expect(own && store.policiesFor(own)).toEqual(known && source.store.policiesFor(known))
      expect(own && store.policiesFor(own).missing).toEqual([broken.name])
    }
  })

  test('who claimed an address last has it after the replay too', () => {
    const source = new MeshSource()
    const first = workload('a')
    const second = workloadResource({
      uid: 'Kubernetes//Pod/default/second',
      name: 'second',
      addresses: [Buffer.from([10, 0, 0, 97])],
    })
    source.applyAddresses([first, second], [])
    source.applyAddresses([first], [])
    const owner = source.store.workloadByAddress('', '10.0.0.97')?.uid
    expect(applied(source.replay()).workloadByAddress('', '10.0.0.97')?.uid).toBe(owner)
  })

  test('passes on no more memory than the resources have, in pieces', () => {
    const source = new MeshSource()
    const large = new Uint8Array(1_000_000)
    const one = workload('a')
    large.set(one.body, 500)
    source.applyAddresses(
      [{ name: one.name, body: large.subarray(500, 500 + one.body.length) }],
      [],
    )
    const [update] = source.replay()
    expect(update?.upserts[0]?.body.buffer.byteLength).toBe(one.body.length)
    const many = Array.from({ length: 250 }, (_, at) =>
      workloadResource({
        uid: `Kubernetes//Pod/default/${at}`,
        name: 'x'.repeat(10_000),
        addresses: [Buffer.from([10, 1, 0, at])],
      }),
    )
    source.applyAddresses(many, [])
    const replayed = [...source.replay()]
    expect(replayed.length).toBeGreaterThan(1)
    expect(replayed.flatMap(({ upserts }) => upserts)).toHaveLength(251)
    for (const { upserts } of replayed) {
      const bytes = upserts.reduce((sum, { body }) => sum + body.length, 0)
      expect(bytes).toBeLessThanOrEqual(1_048_576)
    }
  })
})
