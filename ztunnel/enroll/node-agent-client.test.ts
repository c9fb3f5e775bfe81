import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type ControlMessage,
  Pod,
  Pod_Wanted,
  Report_State,
} from '../../shared/proto/generated/node.ts'
import { systemClock } from '../../shared/runtime/clock.ts'
import { silentLog } from '../../shared/runtime/log.ts'
import { TestingServer } from '../../shared/xds/testing-server.ts'
import { NodeAgentClient } from './node-agent-client.ts'

const order = (uid: string, wanted: Pod_Wanted = Pod_Wanted.CAPTURED): Pod =>
  Pod.fromPartial({ uid, name: uid, namespace: 'shop', addresses: ['10.0.0.1'], wanted })

const message = (
  pods: readonly Pod[],
  snapshot = false,
  removed: readonly string[] = [],
): ControlMessage => ({
  pods: [...pods],
  removed: [...removed],
  snapshot,
})

const reported = (uid: string, state: Report_State, error = '') => ({
  message: { $case: 'report', value: { uid, state, error } },
})

describe('the enrollment client', () => {
  let server: TestingServer
  let client: NodeAgentClient
  const calls: [string[], readonly string[], boolean][] = []

  beforeEach(async () => {
    calls.length = 0
    server = await TestingServer.start()
    client = new NodeAgentClient({
      ...server.endpoint,
      node: 'n1',
      clock: systemClock,
      log: silentLog,
      onPods: (pods, removed, snapshot) => {
        calls.push([pods.map((pod) => `${pod.uid} ${pod.wanted}`), removed, snapshot])
      },
    })
    await client.start()
  })

  afterEach(async () => {
    await client[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  test('says hello, and hands over the list when it is complete, then changes', async () => {
    const stream = await server.enroll()
    expect(await stream.next()).toMatchObject({
      message: { $case: 'hello', value: { node: 'n1' } },
    })
    stream.send(message([order('a')]))
    stream.send(message([order('b', Pod_Wanted.RELEASED)], true))
    stream.send(message([order('c')], false, ['a']))
    await expect.poll(() => calls.length).toBe(2)
    expect(calls).toEqual([
      [['a captured', 'b released'], [], true],
      [['c captured'], ['a'], false],
    ])
  })

  test('repeats the last report of every pod for a new stream, but not of those that are gone', async () => {
    const stream = await server.enroll()
    await stream.next()
    stream.send(message([order('a'), order('b'), order('c')], true))
    client.report('a', 'released')
    client.report('a', 'captured')
    client.report('b', 'captured')
    client.report('c', 'error', 'no namespace')
    for (let count = 0; count < 4; count++) await stream.next()
    stream.send(message([], false, ['b']))
    await expect.poll(() => calls.length).toBe(2)
    stream.fail()
    const again = await server.enroll()
    await again.next()
    expect(await again.next()).toEqual(reported('a', Report_State.CAPTURED))
    expect(await again.next()).toEqual(reported('c', Report_State.ERROR, 'no namespace'))
  })

  test('reports without a stream wait for one', async () => {
    const stream = await server.enroll()
    await stream.next()
    server.stop()
    await expect.poll(() => client.connected).toBe(false)
    client.report('a', 'captured')
    await server.listen()
    const again = await server.enroll()
    await again.next()
    expect(await again.next()).toEqual(reported('a', Report_State.CAPTURED))
  })

  test('an order for what is done already is answered at once', async () => {
    const stream = await server.enroll()
    await stream.next()
    stream.send(message([order('a', Pod_Wanted.RELEASED)], true))
    client.report('a', 'released')
    await stream.next()
    stream.send(message([order('a')]))
    stream.send(message([order('a', Pod_Wanted.RELEASED)]))
    expect(await stream.next()).toEqual(reported('a', Report_State.RELEASED))
  })

  test('an order that is none ends the stream, and nothing is taken from it', async () => {
    const stream = await server.enroll()
    await stream.next()
    stream.send(message([order('a', Pod_Wanted.UNSPECIFIED)], true))
    const again = await server.enroll()
    expect(await again.next()).toMatchObject({ message: { $case: 'hello' } })
    expect(calls).toEqual([])
  })
})
