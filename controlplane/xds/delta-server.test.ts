import { status } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Address } from '../../shared/proto/generated/workload.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../compile/resource.ts'
import {
  podUid,
  podYaml,
  TestingControlPlane,
  XDS_NODE,
  xdsRequest,
} from '../testing-control-plane.ts'

const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: allow, namespace: shop }
spec: { action: ALLOW, rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/a] } }] }] }
`

const ack = (response: { readonly typeUrl: string; readonly nonce: string }) =>
  xdsRequest(response.typeUrl, { responseNonce: response.nonce })

describe('delta ADS', () => {
  let plane: TestingControlPlane

  beforeEach(async () => {
    plane = await TestingControlPlane.start({
      'a.yaml': podYaml('a', 'n1', '10.0.0.1'),
      'b.yaml': podYaml('b', 'n2', '10.0.0.2'),
    })
  })

  afterEach(async () => {
    await plane[Symbol.asyncDispose]()
  })

  test.for([
    ['no token', ''],
    ['a token that is none', 'secret'],
  ])('%s is refused', async ([, token = '']) => {
    const stream = await plane.xds(token)
    stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    expect(await stream.ended).toMatchObject({ code: status.UNAUTHENTICATED })
  })

  test('a first request without node is refused', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    stream.send(xdsRequest(ADDRESS_TYPE))
    expect(await stream.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: 'missing node information',
    })
  })

  test('a wildcard gets everything, then exactly what changes, then removals', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    const all = await stream.next()
    expect(all.resources.map((one) => one.name).sort()).toEqual([podUid('a'), podUid('b')])
    expect(all.resources.every((one) => one.resource?.typeUrl === ADDRESS_TYPE)).toBe(true)
    expect(all.removedResources).toEqual([])
    stream.send(ack(all))

    await plane.write('a.yaml', podYaml('a', 'n1', '10.0.0.9'))
    const changed = await stream.next()
    expect(changed.resources.map((one) => one.name)).toEqual([podUid('a')])
    expect(changed.nonce).not.toBe(all.nonce)
    const body = Address.decode(changed.resources[0]?.resource?.value ?? Buffer.alloc(0))
    expect(body.type?.$case === 'workload' && [...(body.type.value.addresses[0] ?? [])]).toEqual([
      10, 0, 0, 9,
    ])
    stream.send(ack(changed))

    await plane.remove('b.yaml')
    const removed = await stream.next()
    expect(removed).toMatchObject({ resources: [], removedResources: [podUid('b')] })
    expect(await plane.page('/metrics')).toMatch(
      /ambit_xds_pushed_resources_total\{type="Address"\} 3\n/,
    )
  })

  test('a refusal is shown and not answered; the next change is sent', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    const all = await stream.next()
    stream.send({
      ...ack(all),
      errorDetail: { code: 3, message: 'a: too strange', details: [] },
    })
    await plane.write('b.yaml', podYaml('b', 'n2', '10.0.0.3'))
    const next = await stream.next()
    expect(next.resources.map((one) => one.name)).toEqual([podUid('b')])
    expect(await plane.page('/debug/nodes')).toContain('a: too strange')
    expect(await plane.page('/metrics')).toMatch(/ambit_xds_rejects_total\{type="Address"\} 1\n/)
  })

  test('what changes before the acknowledgement waits for it', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    const all = await stream.next()
    const other = await plane.xds(await plane.token('n2'))
    other.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    other.send(ack(await other.next()))
    await plane.write('a.yaml', podYaml('a', 'n1', '10.0.0.9'))
    await other.next()
    expect(stream.unread).toBe(0)
    stream.send(ack(all))
    expect((await stream.next()).resources.map((one) => one.name)).toEqual([podUid('a')])
  })

  test('a reconnect transfers what changed, also to a control plane that was restarted', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    const all = await stream.next()
    const versions = Object.fromEntries(all.resources.map((one) => [one.name, one.version]))
    await plane.stop()
    await plane.remove('b.yaml')
    await plane.write('c.yaml', podYaml('c', 'n2', '10.0.0.4'))
    await plane.start()
    const again = await plane.xds(await plane.token('n1'))
    again.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE, initialResourceVersions: versions }))
    const answer = await again.next()
    expect(answer.resources.map((one) => one.name)).toEqual([podUid('c')])
    expect(answer.removedResources).toEqual([podUid('b')])
  })

  test('every type is answered once, even if there is nothing, also an unknown one', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    for (const type of [AUTHORIZATION_TYPE, 'type.googleapis.com/unknown.Type']) {
      stream.send(xdsRequest(type, { node: XDS_NODE }))
      const answer = await stream.next()
      expect(answer).toMatchObject({ typeUrl: type, removedResources: [] })
      stream.send(ack(answer))
    }
  })

  test('a new policy comes before the workloads', async () => {
    const stream = await plane.xds(await plane.token('n1'))
    for (const type of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
      stream.send(xdsRequest(type, { node: XDS_NODE }))
    }
    for (let answers = 0; answers < 2; answers++) stream.send(ack(await stream.next()))
    const selector = POLICY.replace('spec: {', 'spec: { selector: { matchLabels: { app: a } },')
    await plane.write('policy.yaml', selector)
    const first = await stream.next()
    const second = await stream.next()
    expect([first.typeUrl, second.typeUrl]).toEqual([AUTHORIZATION_TYPE, ADDRESS_TYPE])
    expect(first.resources.map((one) => one.name)).toEqual(['shop/allow'])
    stream.send(ack(first))
    stream.send(ack(second))
    await plane.remove('policy.yaml')
    const third = await stream.next()
    stream.send(ack(third))
    const fourth = await stream.next()
    expect([third.typeUrl, fourth.typeUrl]).toEqual([ADDRESS_TYPE, AUTHORIZATION_TYPE])
    expect(fourth.removedResources).toEqual(['shop/allow'])
  })

  test('a node has a bounded number of streams', async () => {
    const token = await plane.token('n1')
    const streams = await Promise.all(
      Array.from({ length: 16 }, async () => await plane.xds(token)),
    )
    for (const stream of streams) stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    await Promise.all(streams.map(async (stream) => await stream.next()))
    const extra = await plane.xds(token)
    extra.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    expect(await extra.ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED })
  })
})
