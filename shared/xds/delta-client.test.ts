import { status } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DeltaDiscoveryResponse } from '../proto/generated/discovery.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLog } from '../runtime/log.ts'
import type { Rejected } from './accepted.ts'
import { DeltaClient } from './delta-client.ts'
import { ztunnelNode } from './node-identity.ts'
import { markPartial } from './partial-answer.ts'
import { TestingServer } from './testing-server.ts'

const TYPE = 'type.googleapis.com/test.Thing'
const OTHER = 'type.googleapis.com/test.Other'

function response(
  nonce: string,
  resources: Readonly<Record<string, string>>,
  given: Partial<DeltaDiscoveryResponse> = {},
): DeltaDiscoveryResponse {
  return {
    ...DeltaDiscoveryResponse.fromPartial({
      typeUrl: TYPE,
      nonce,
      resources: Object.entries(resources).map(([name, version]) => ({
        name,
        version,
        resource: { typeUrl: TYPE, value: Buffer.from(version) },
      })),
    }),
    ...given,
  }
}

describe('the delta ADS client', () => {
  let server: TestingServer
  let client: DeltaClient
  const things = new Map<string, string>()
  const batches: { readonly upserts: readonly string[]; readonly removed: readonly string[] }[] = []
  const ends: string[] = []
  const counted: [string, number][] = []

  const connect = async (types: readonly string[] = [TYPE]): Promise<void> => {
    client = new DeltaClient({
      ...server.endpoint,
      node: ztunnelNode({ node: 'n1', clusterId: 'Kubernetes', network: '' }),
      types: types.map((typeUrl) => ({
        typeUrl,
        apply: ({ upserts, removed }) => {
          batches.push({ upserts: upserts.map((one) => one.name), removed })
          for (const name of removed) things.delete(name)
          return upserts.flatMap(({ name, body }): Rejected[] => {
            const text = Buffer.from(body).toString()
            if (text === 'throw') throw new Error('broken')
            if (text.startsWith('bad')) return [{ name, reason: `${text} is bad` }]
            things.set(name, text)
            return []
          })
        },
      })),
      clock: systemClock,
      log: silentLog,
      metrics: {
        terminated: (reason) => void ends.push(reason),
        message: (typeUrl, bytes) => void counted.push([typeUrl, bytes]),
      },
    })
    await client.start()
  }

  beforeEach(async () => {
    things.clear()
    batches.length = ends.length = counted.length = 0
    server = await TestingServer.start()
  })

  afterEach(async () => {
    await client[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  test('says who it is, asks for everything, and acknowledges', async () => {
    await connect([TYPE, OTHER])
    const stream = await server.xds()
    expect(stream.metadata.get('authorization')).toEqual(['Bearer first'])
    expect(stream.metadata.get('clusterid')).toEqual(['Kubernetes'])
    const first = await stream.next()
    expect(first).toMatchObject({
      typeUrl: TYPE,
      resourceNamesSubscribe: [],
      initialResourceVersions: {},
      node: {
        id: 'ztunnel~1.1.1.1~ztunnel-n1.istio-system~istio-system.svc.cluster.local',
        metadata: { NODE_NAME: 'n1', CLUSTER_ID: 'Kubernetes' },
      },
    })
    expect((await stream.next()).typeUrl).toBe(OTHER)
    stream.send(response('1', { a: 'v1' }))
    expect(await stream.next()).toMatchObject({
      typeUrl: TYPE,
      responseNonce: '1',
      errorDetail: undefined,
    })
    expect(client.isReady).toBe(false)
    stream.send({ ...response('2', {}), typeUrl: OTHER })
    await client.ready
    expect(things.get('a')).toBe('v1')
    expect(counted.map(([type, bytes]) => [type, bytes > 0])).toEqual([
      [TYPE, true],
      [OTHER, true],
    ])
  })

  test('is ready when the last part of a large answer was applied', async () => {
    await connect()
    const stream = await server.xds()
    await stream.next()
    stream.send(response('1', { a: 'v1' }, { systemVersionInfo: markPartial('x') }))
    await stream.next()
    expect(client.isReady).toBe(false)
    stream.send(response('2', { b: 'v1' }))
    await client.ready
  })

  test('a refusal names what is bad, the rest is applied', async () => {
    await connect()
    const stream = await server.xds()
    await stream.next()
    stream.send(response('1', { a: 'v1', b: 'bad1', c: 'bad2' }))
    expect(await stream.next()).toMatchObject({
      responseNonce: '1',
      errorDetail: { code: 3, message: 'b: bad1 is bad; c: bad2 is bad' },
    })
    expect([...things]).toEqual([['a', 'v1']])
  })

  test('a resource of another type, and a handler that throws, are refusals', async () => {
    await connect()
    const stream = await server.xds()
    await stream.next()
    const foreign = response('1', { a: 'v1' })
    const [resource] = foreign.resources
    if (resource?.resource !== undefined) resource.resource.typeUrl = OTHER
    stream.send(foreign)
    expect((await stream.next()).errorDetail?.message).toBe(`a: is of type ${OTHER}`)
    stream.send(response('2', { b: 'throw' }))
    expect((await stream.next()).errorDetail?.message).toBe('b: broken')
  })

  test('a reconnect names accepted versions only; what was refused comes again or vanishes', async () => {
    await connect()
    const stream = await server.xds()
    await stream.next()
    stream.send(response('1', { a: 'v1', b: 'v1', c: 'bad', d: 'bad' }))
    await stream.next()
    stream.send(response('2', { b: 'v2' }, { removedResources: ['a', 'never-known'] }))
    await stream.next()
    await server.writeToken('second')
    stream.fail()
    const again = await server.xds()
    expect(again.metadata.get('authorization')).toEqual(['Bearer second'])
    expect(await again.next()).toMatchObject({
      initialResourceVersions: { b: 'v2' },
      node: { metadata: { NODE_NAME: 'n1' } },
    })
    batches.length = 0
    again.send(response('1', { d: 'v2' }, { removedResources: ['b'] }))
    await again.next()
    expect(batches).toEqual([{ upserts: ['d'], removed: ['b', 'c'] }])
    expect([...things]).toEqual([['d', 'v2']])
    expect(ends).toEqual(['Error'])
  })

  test.for([
    { name: 'an error', end: 'Error', code: status.INTERNAL },
    { name: 'a cancellation', end: 'Reconnect', code: status.CANCELLED },
    { name: 'a clean end', end: 'Complete', code: status.OK },
  ])('$name is told from others, and a new stream follows', async ({ end, code }) => {
    await connect()
    const stream = await server.xds()
    stream.send(response('1', { a: 'v1' }))
    await client.ready
    if (code === status.OK) stream.end()
    else stream.fail(code)
    await (await server.xds()).next()
    expect(ends).toEqual([end])
  })

  test('what was applied stays while the server is away', async () => {
    await connect()
    const stream = await server.xds()
    stream.send(response('1', { a: 'v1' }))
    await client.ready
    server.stop()
    await expect.poll(() => ends.includes('ConnectionError')).toBe(true)
    expect([...things]).toEqual([['a', 'v1']])
    expect(client.isReady).toBe(true)
    await server.listen()
    const again = await server.xds()
    expect((await again.next()).initialResourceVersions).toEqual({ a: 'v1' })
  })

  test('an empty token file is no connection, until there is a token', async () => {
    await server.writeToken('')
    await connect()
    await expect.poll(() => ends.length).toBeGreaterThan(0)
    await server.writeToken('late')
    expect((await server.xds()).metadata.get('authorization')).toEqual(['Bearer late'])
  })
})
