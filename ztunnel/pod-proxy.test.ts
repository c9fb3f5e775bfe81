import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { appPath } from '../shared/lab/apps/app-path.ts'
import { policyResource } from '../shared/mesh/testing-mesh.ts'
import { Action, Scope } from '../shared/proto/generated/authorization.ts'
import { FakeClock } from '../shared/runtime/clock.ts'
import { TestingNode } from './testing-node.ts'

let node: TestingNode

beforeAll(async () => {
  node = await TestingNode.start({ threads: 2 })
  const first = await node.lab.node('node-1')
  const second = await node.lab.node('node-2')
  await node.captured(first, 'caller')
  await node.captured(first, 'near')
  const far = await node.captured(second, 'far')
  far.spawn(process.execPath, [appPath('tcp-app'), '--port', '9000'])
  await far.waitForPort(9000)
  for (const name of ['near', 'far']) {
    const pod = node.podOf(name)
    pod.spawn(process.execPath, [appPath('http-app'), '--port', '8080', '--name', name])
    await pod.waitForPort(8080)
  }
}, 60_000)

afterAll(async () => {
  await node?.[Symbol.asyncDispose]()
})

const call = () => node.call('caller', 'far', 9_000)

describe('PodProxy', () => {
  test.for([
    ['near', 'address4'],
    ['near', 'address6'],
    ['far', 'address4'],
    ['far', 'address6'],
  ] as const)(
    'carries a request to %s over %s through HBONE, the caller seen as itself',
    async ([name, family]) => {
      const caller = node.podOf('caller')
      const target = node.podOf(name)[family]
      const url = target.includes(':') ? `http://[${target}]:8080/` : `http://${target}:8080/`
      const answer = await caller.exec('curl', ['-sS', '--max-time', '5', '-g', url])
      expect(`${answer.stderr}${answer.code === 0 ? '' : node.lines.join('')}`).toBe('')
      expect(JSON.parse(answer.stdout)).toMatchObject({ app: name, peer: caller[family] })
    },
  )

  test('a half-close passes through, and the answer after it', async () => {
    const { socket, text } = call()
    socket.end('sink\nhello')
    expect(await text).toMatch(/^5 [0-9a-f]{64}/)
  })

  test('a large download arrives whole', async () => {
    const { socket, text } = call()
    socket.write('source 20000000 7\n')
    expect((await text).length).toBeGreaterThan(10_000_000)
  })

  test("an application's reset reaches the caller as a reset", async () => {
    const { socket, text } = call()
    socket.write('reset\nx')
    await expect(text).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('a policy that now denies cuts the open connection and refuses new ones', async () => {
    const { socket, text } = call()
    socket.write('echo\n')
    const denied = policyResource({
      name: 'nobody',
      namespace: 'default',
      scope: Scope.NAMESPACE,
      action: Action.DENY,
      groups: [{ rules: [] }],
    })
    expect(node.mesh.applyPolicies([denied], [])).toEqual([])
    await expect(text).rejects.toMatchObject({ code: 'ECONNRESET' })
    const again = call()
    await expect(again.text).rejects.toMatchObject({ code: 'ECONNRESET' })
    node.mesh.applyPolicies([], [denied.name])
    const { socket: last, text: answer } = call()
    last.end('peer\n')
    expect(await answer).toContain(node.podOf('caller').address4)
  })

  test('release sets the namespace back as it was', async () => {
    const clock = new FakeClock()
    const pod = await node.pod(await node.lab.node('node-3'), 'leaver')
    const proxy = await node.capture('leaver', clock)
    const migrates = () =>
      pod.namespace.run(() => readFileSync('/proc/sys/net/ipv4/tcp_migrate_req', 'latin1').trim())
    expect(migrates()).toBe('1')
    await proxy.beginRelease()
    const finished = proxy.finishRelease(new AbortController().signal)
    clock.advance(10_000)
    expect(await finished).toBe(true)
    expect(migrates()).toBe('0')
    const { stdout } = await pod.exec('nft', ['list', 'ruleset'])
    expect(stdout).toBe('')
    const { stdout: listening } = await pod.exec('ss', ['-ltnH'])
    expect(listening).toBe('')
  })
})
