import { status } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AgentMessage, Pod_Wanted, Report_State } from '../../shared/proto/generated/node.ts'
import { Address, TunnelProtocol } from '../../shared/proto/generated/workload.ts'
import { ADDRESS_TYPE } from '../compile/resource.ts'
import {
  hello,
  podUid,
  podYaml,
  TestingControlPlane,
  XDS_NODE,
  xdsRequest,
} from '../testing-control-plane.ts'

const report = (name: string, state: Report_State, error = ''): AgentMessage =>
  AgentMessage.fromPartial({
    message: { $case: 'report', value: { uid: podUid(name), state, error } },
  })

describe('enrollment', () => {
  let plane: TestingControlPlane

  beforeEach(async () => {
    plane = await TestingControlPlane.start({
      'a.yaml': podYaml('a', 'n1', '10.0.0.1'),
      'b.yaml': podYaml('b', 'n2', '10.0.0.2'),
      'c.yaml': podYaml('c', 'n1', '10.0.0.3', 'none'),
    })
  })

  afterEach(async () => {
    await plane[Symbol.asyncDispose]()
  })

  const agentOf = async (node: string) => {
    const stream = await plane.enroll(await plane.token(node))
    stream.send(hello(node))
    return stream
  }

  /** Follows how a pod is announced. */
  const watcher = async () => {
    const stream = await plane.xds(await plane.token('watcher'))
    stream.send(xdsRequest(ADDRESS_TYPE, { node: XDS_NODE }))
    return async (name: string): Promise<TunnelProtocol> => {
      for (;;) {
        const response = await stream.next()
        stream.send(xdsRequest(ADDRESS_TYPE, { responseNonce: response.nonce }))
        const found = response.resources.find((one) => one.name === podUid(name))
        if (found === undefined) continue
        const { type } = Address.decode(found.resource?.value ?? Buffer.alloc(0))
        if (type?.$case === 'workload') return type.value.tunnelProtocol
      }
    }
  }

  test('an agent gets the pods of its node only, then changes', async () => {
    const agent = await agentOf('n1')
    const all = await agent.next()
    expect(all.snapshot).toBe(true)
    expect(all.pods.map(({ uid, wanted, addresses }) => [uid, wanted, addresses])).toEqual([
      [podUid('a'), Pod_Wanted.CAPTURED, ['10.0.0.1']],
      [podUid('c'), Pod_Wanted.RELEASED, ['10.0.0.3']],
    ])
    await plane.write('c.yaml', podYaml('c', 'n1', '10.0.0.3'))
    const changed = await agent.next()
    expect(changed).toMatchObject({
      snapshot: false,
      pods: [{ uid: podUid('c'), wanted: Pod_Wanted.CAPTURED }],
    })
    await plane.remove('a.yaml')
    expect(await agent.next()).toMatchObject({ pods: [], removed: [podUid('a')] })
  })

  test('a workload is HBONE only after captured, and plain only after released', async () => {
    const next = await watcher()
    expect(await next('a')).toBe(TunnelProtocol.NONE)
    const agent = await agentOf('n1')
    await agent.next()
    agent.send(report('a', Report_State.CAPTURED))
    expect(await next('a')).toBe(TunnelProtocol.HBONE)
    await plane.write('a.yaml', podYaml('a', 'n1', '10.0.0.1', 'none'))
    expect((await agent.next()).pods).toMatchObject([{ wanted: Pod_Wanted.RELEASED }])
    expect(JSON.parse(await plane.page('/debug/enrollment'))).toMatchObject({
      captured: [podUid('a')],
    })
    agent.send(report('a', Report_State.RELEASED))
    expect(await next('a')).toBe(TunnelProtocol.NONE)
  })

  test('neither a lost stream nor a restart takes a workload back', async () => {
    const next = await watcher()
    await next('a')
    const agent = await agentOf('n1')
    await agent.next()
    agent.send(report('a', Report_State.CAPTURED))
    expect(await next('a')).toBe(TunnelProtocol.HBONE)
    agent.cancel()
    await agent.ended
    await plane.stop()
    await plane.start()
    const nextAfter = await watcher()
    expect(await nextAfter('a')).toBe(TunnelProtocol.HBONE)
  })

  test('what is gone at the restart is forgotten', async () => {
    const next = await watcher()
    await next('a')
    const agent = await agentOf('n1')
    await agent.next()
    agent.send(report('a', Report_State.CAPTURED))
    await next('a')
    await plane.stop()
    await plane.remove('a.yaml')
    await plane.start()
    await plane.write('a.yaml', podYaml('a', 'n1', '10.0.0.1'))
    const nextAfter = await watcher()
    expect(await nextAfter('a')).toBe(TunnelProtocol.NONE)
  })

  test('a pod that is wanted is not given up: its order is repeated', async () => {
    const agent = await agentOf('n1')
    await agent.next()
    agent.send(report('a', Report_State.CAPTURED))
    agent.send(report('a', Report_State.RELEASED))
    expect(await agent.next()).toMatchObject({
      pods: [{ uid: podUid('a'), wanted: Pod_Wanted.CAPTURED }],
    })
    await expect
      .poll(async () => JSON.parse(await plane.page('/debug/enrollment')))
      .toMatchObject({ captured: [podUid('a')] })
  })

  test('an agent that leaves may give up what is wanted', async () => {
    const next = await watcher()
    await next('a')
    const agent = await agentOf('n1')
    await agent.next()
    agent.send(report('a', Report_State.CAPTURED))
    expect(await next('a')).toBe(TunnelProtocol.HBONE)
    const leaving = await plane.enroll(await plane.token('n1'))
    leaving.send(
      AgentMessage.fromPartial({
        message: { $case: 'hello', value: { node: 'n1', leaving: true } },
      }),
    )
    await leaving.next()
    leaving.send(report('a', Report_State.RELEASED))
    expect(await next('a')).toBe(TunnelProtocol.NONE)
  })

  test('reports about pods of other nodes change nothing', async () => {
    const agent = await agentOf('n1')
    await agent.next()
    agent.send(report('b', Report_State.CAPTURED))
    agent.send(report('a', Report_State.ERROR, 'no namespace'))
    await expect
      .poll(async () => JSON.parse(await plane.page('/debug/enrollment')))
      .toMatchObject({
        captured: [],
        agents: [{ node: 'n1', reports: { [podUid('a')]: { error: 'no namespace' } } }],
      })
  })

  test('a newer stream of the node takes the place of the older', async () => {
    const older = await agentOf('n1')
    await older.next()
    const newer = await agentOf('n1')
    expect((await newer.next()).snapshot).toBe(true)
    expect(await older.ended).toMatchObject({ code: status.ABORTED })
    await plane.remove('a.yaml')
    expect(await newer.next()).toMatchObject({ removed: [podUid('a')] })
  })

  test.for([
    { name: 'no token', token: '', first: hello('n1'), code: status.UNAUTHENTICATED },
    {
      name: "another node's token",
      token: 'n2',
      first: hello('n1'),
      code: status.PERMISSION_DENIED,
    },
    {
      name: 'no hello',
      token: 'n1',
      first: report('a', Report_State.CAPTURED),
      code: status.INVALID_ARGUMENT,
    },
  ])('$name is refused', async ({ token, first, code }) => {
    const stream = await plane.enroll(token === '' ? '' : await plane.token(token))
    stream.send(first)
    expect((await stream.ended).code).toBe(code)
    expect(JSON.parse(await plane.page('/debug/enrollment'))).toEqual({ captured: [], agents: [] })
  })
})
