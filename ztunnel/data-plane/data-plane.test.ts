import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { BroadcastChannel } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { TestingAuthority } from '../../shared/identity/testing-authority.ts'
import { appPath } from '../../shared/lab/apps/app-path.ts'
import { policyResource } from '../../shared/mesh/testing-mesh.ts'
import { Action, Scope } from '../../shared/proto/generated/authorization.ts'
import { TestingNode, type TestingNodeOptions } from '../testing-node.ts'
import { FAULTS, type Fault } from './testing-faults.ts'

const PORT = 9_000

let node: TestingNode

/** A node whose workers can be broken, with an echo server in `server` and two pods beside it, `outside` uncaptured. */
async function start(options: TestingNodeOptions): Promise<void> {
  node = await TestingNode.start({
    program: new URL('./testing-worker.ts', import.meta.url),
    ...options,
  })
  const machine = await node.lab.node('node-1')
  await node.captured(machine, 'caller')
  const server = await node.captured(machine, 'server')
  await node.pod(machine, 'outside')
  server.spawn(process.execPath, [appPath('tcp-app'), '--port', `${PORT}`])
  await server.waitForPort(PORT)
}

let faults: BroadcastChannel

beforeEach(() => {
  faults = new BroadcastChannel(FAULTS)
})

afterEach(async () => {
  faults.close()
  await node?.[Symbol.asyncDispose]()
})

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
const fault = (what: Fault): void => faults.postMessage(what)

const metric = async (pattern: RegExp): Promise<number> =>
  Number(pattern.exec(await node.dataPlane.exposition())?.[1] ?? 0)

const restarts = (): Promise<number> => metric(/^ambit_worker_restarts_total (\d+)/m)
const running = (): Promise<number> => metric(/^ambit_workers (\d+)/m)

/** All that an echo connection answers. */
async function echo(from: string, text: string): Promise<string> {
  const { socket, text: answer } = node.call(from, 'server', PORT)
  socket.end(`echo\n${text}`)
  return await answer
}

const echoes = async (from: string, count: number): Promise<readonly string[]> =>
  await Promise.all(Array.from({ length: count }, (_, at) => echo(from, `${at}`)))

const denyAll = policyResource({
  name: 'nobody',
  namespace: 'default',
  scope: Scope.NAMESPACE,
  action: Action.DENY,
  groups: [{ rules: [] }],
})

/** Echo connections from a pod, open at both ends, so many that every worker has some. */
async function openMany(from: string) {
  const calls = Array.from({ length: 24 }, () => node.call(from, 'server', PORT))
  await Promise.all(
    calls.map(async ({ socket }) => {
      socket.write('echo\nhere ')
      await once(socket, 'data')
    }),
  )
  return calls
}

describe('DataPlane', { timeout: 60_000 }, () => {
  test('a change reaches all workers within 10 ms', async () => {
    await start({ threads: 4 })
    const took: number[] = []
    for (let round = 0; round < 10; round++) {
      const began = performance.now()
      node.mesh.applyPolicies(
        round % 2 === 0 ? [denyAll] : [],
        round % 2 === 0 ? [] : [denyAll.name],
      )
      // Answered in order, so after the change.
      expect((await node.dataPlane.connections()).missing).toEqual([])
      took.push(performance.now() - began)
    }
    expect(took.sort((a, b) => a - b)[5]).toBeLessThan(10)
    node.mesh.applyPolicies([denyAll], [])
    await node.dataPlane.connections()
    // Whichever worker has it: none lets it through.
    const refused = await Promise.allSettled(Array.from({ length: 16 }, () => echo('outside', 'x')))
    expect(refused.map(({ status }) => status)).toEqual(refused.map(() => 'rejected'))
  })

  test('a blocked main thread does not stall traffic', async () => {
    await start({ threads: 2 })
    const server = node.podOf('server')
    const http = server.spawn(process.execPath, [appPath('http-app'), '--port', '8080'])
    await server.waitForPort(8_080)
    expect(http.exit).toBeUndefined()
    const calls = `for (let at = 0; at < 40; at++) {
      const before = performance.now()
      await (await fetch('http://${server.address4}:8080/', { headers: { connection: 'close' } })).text()
      console.log(Date.now(), performance.now() - before)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }`
    const caller = node
      .podOf('caller')
      .exec(process.execPath, ['--input-type=module', '-e', calls], { timeoutMs: 20_000 })
    await sleep(700)
    const blockedAt = Date.now()
    while (Date.now() < blockedAt + 2_000) Math.sqrt(blockedAt)
    const freeAt = Date.now()
    const { stdout, stderr } = await caller
    expect(stderr).toBe('')
    const all = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ').map(Number))
    const meanwhile = all.filter(([at = 0]) => at > blockedAt + 100 && at < freeAt - 100)
    expect(all).toHaveLength(40)
    expect(meanwhile.length).toBeGreaterThan(4)
    expect(Math.max(...meanwhile.map(([, ms = 0]) => ms))).toBeLessThan(1_000)
  })

  test('a lost worker takes only its own connections with it, is counted, and comes back knowing everything', async () => {
    await start({ threads: 2 })
    const open = await openMany('outside')
    fault({ number: 1, blockMs: 0, crash: true })
    await vi.waitFor(async () => expect(await restarts()).toBe(1), { timeout: 5_000 })
    for (const { socket } of open) socket.end('still here')
    const ends = await Promise.allSettled(open.map(({ text }) => text))
    const survivors = ends.filter((end) => end.status === 'fulfilled')
    expect(survivors.length).toBeGreaterThan(0)
    expect(survivors.length).toBeLessThan(open.length)
    expect(survivors.map(({ value }) => value)).toEqual(survivors.map(() => 'here still here'))
    // Capture stays, and a sibling serves at once.
    expect(await echoes('caller', 20)).toHaveLength(20)
    node.mesh.applyPolicies([denyAll], [])
    await vi.waitFor(async () => expect(await running()).toBe(2), { timeout: 10_000 })
    fault({ number: 2, blockMs: 0, crash: true })
    await vi.waitFor(async () => expect(await restarts()).toBe(2), { timeout: 5_000 })
    await vi.waitFor(async () => expect(await running()).toBe(2), { timeout: 10_000 })
    // The policy came while the first was away, and the second has lost it: both have it.
    const refused = await Promise.allSettled(Array.from({ length: 20 }, () => echo('outside', 'x')))
    expect(refused.map(({ status }) => status)).toEqual(refused.map(() => 'rejected'))
    node.mesh.applyPolicies([], [denyAll.name])
    await vi.waitFor(async () => expect(await echoes('caller', 20)).toHaveLength(20))
  })

  test("what waits in a lost worker's queue moves to the others", async () => {
    await start({ threads: 2 })
    fault({ number: 1, blockMs: 1_000, crash: true })
    await sleep(100)
    expect(await echoes('outside', 40)).toEqual(Array.from({ length: 40 }, (_, at) => `${at}`))
    expect(await restarts()).toBe(1)
  })

  test('with one worker, connections wait until it is back', async () => {
    await start({ threads: 1 })
    fault({ number: 1, blockMs: 0, crash: true })
    await vi.waitFor(async () => expect(await running()).toBe(0), { interval: 5 })
    expect(await echoes('caller', 10)).toHaveLength(10)
    expect(await running()).toBe(1)
  })

  test('views are those of all workers together; counters survive a worker', async () => {
    await start({ threads: 4 })
    await echoes('caller', 40)
    const opened = /^istio_tcp_connections_opened_total\{reporter="source",.*\} (\d+)/m
    expect(await metric(opened)).toBe(40)
    expect(
      await metric(/^ambit_connection_first_byte_seconds_count\{reporter="source".*\} (\d+)/m),
    ).toBe(40)
    const links = await node.dataPlane.links()
    const rows = links.value.filter(({ direction }) => direction === 'outbound')
    expect(rows).toMatchObject([{ connections: { total: 40, open: 0 }, setupMs: { count: 40 } }])
    const open = await openMany('caller')
    await vi.waitFor(async () => {
      const { value, missing } = await node.dataPlane.connections()
      expect(missing).toEqual([])
      expect([...value.pods.values()].map((list) => list.length)).toEqual([24, 24])
    })
    for (const { socket } of open) socket.end()
    await vi.waitFor(async () => expect(await metric(opened)).toBe(64))
    fault({ number: 1, blockMs: 0, crash: true })
    await vi.waitFor(async () => expect(await restarts()).toBe(1))
    await vi.waitFor(async () => expect(await running()).toBe(4), { timeout: 10_000 })
    expect(await metric(opened)).toBe(64)
  })

  test('a worker that does not answer is named, and holds up nobody', async () => {
    await start({ threads: 2 })
    fault({ number: 2, blockMs: 8_000, crash: false })
    await vi.waitFor(
      async () => expect((await node.dataPlane.connections()).missing).toEqual([2]),
      { timeout: 5_000 },
    )
    expect(await metric(/^ambit_workers_silent (\d+)/m)).toBe(1)
    expect((await node.dataPlane.links()).missing).toEqual([2])
  })

  test('at the descriptor limit all workers pause together, and go on together', async () => {
    await start({ threads: 2, limit: 100 })
    const open = Array.from({ length: 60 }, () => node.call('outside', 'server', PORT))
    await vi.waitFor(() => expect(node.limits).toBeGreaterThan(0))
    const { value } = await node.dataPlane.connections()
    const accepted = [...value.pods.values()].flat().length
    expect(accepted).toBeLessThan(60)
    for (const { socket } of open) socket.end('echo\nx')
    expect(await Promise.all(open.map(({ text }) => text))).toEqual(open.map(() => 'x'))
  })

  test('connections wait for the certificate of their pod, in every worker', async () => {
    const real = new TestingAuthority()
    const gate = Promise.withResolvers<void>()
    onTestFinished(() => gate.resolve())
    await start({
      threads: 2,
      authority: {
        issue: async (identity, csr) => {
          await gate.promise
          return await real.issue(identity, csr)
        },
      },
    })
    const waiting = echoes('caller', 10)
    await sleep(200)
    gate.resolve()
    expect(await waiting).toHaveLength(10)
  })

  test('drain lets open connections end, cuts them at the deadline, and accepts nothing new', async () => {
    await start({ threads: 2 })
    const ending = node.call('outside', 'server', PORT)
    ending.socket.write('echo\nfirst ')
    const staying = node.call('outside', 'server', PORT)
    staying.socket.write('echo\n')
    await sleep(200)
    const deadline = new AbortController()
    const proxy = node.proxies.get('server')
    const drained = proxy?.drain(deadline.signal)
    await proxy?.stopAccepting()
    await expect(echo('outside', 'x')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    ending.socket.end('last')
    expect(await ending.text).toBe('first last')
    deadline.abort()
    await drained
    await expect(staying.text).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('nothing listens in a pod that no worker could be told of', async () => {
    await start({ threads: 2 })
    const blocker = node.podOf('outside')
    // Somebody else has the port, and does not share it.
    const other = blocker.spawn(process.execPath, [appPath('tcp-app'), '--port', '15008'])
    await blocker.waitForPort(15_008)
    await expect(node.capture('outside')).rejects.toMatchObject({ code: 'LINUX_EADDRINUSE' })
    const { stdout } = await blocker.exec('ss', ['-ltnH'])
    expect(stdout.trim().split('\n')).toHaveLength(1)
    await other.stop()
    await node.proxies.get('outside')?.capture()
    expect(await echo('outside', 'x')).toBe('x')
  })
})
