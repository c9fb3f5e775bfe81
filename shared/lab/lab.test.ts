import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { captureFrames } from '../linux/frames.ts'
import { parseFrame } from '../linux/packet.ts'
import { processesIn, startTimeOf } from '../linux/process.ts'
import { tcpSocket } from '../linux/sockets.ts'
import { codeOf } from '../runtime/errors.ts'
import { appPath } from './apps/app-path.ts'
import { Lab, type LabNode, type Pod } from './lab.ts'
import { HOSTS, NAMESPACES } from './leftovers.ts'
import type { Place } from './place.ts'
import { RECORDS } from './record.ts'

const codeOfRejection = async (promise: Promise<unknown>): Promise<string | undefined> =>
  promise.then(() => undefined, codeOf)

/** Everything on the machine that carries a prefix. */
const tracesOf = (prefix: string): string[] => [
  ...readdirSync(NAMESPACES).filter((name) => name.startsWith(prefix)),
  ...(existsSync(HOSTS) ? readdirSync(HOSTS).filter((name) => name.startsWith(prefix)) : []),
  ...readdirSync(RECORDS).filter(
    (name) => prefix.slice('ambit-'.length, -1) === name.split('.')[0],
  ),
]

/** Sends `input` from a place, closes that side, and reads the answer to its end. */
async function talk(place: Place, host: string, port: number, input: string): Promise<string> {
  const family = host.includes(':') ? 6 : 4
  const fd = place.namespace.run(() => tcpSocket({ family }))
  const socket = new Socket({ fd, allowHalfOpen: true })
  socket.connect({ host, port })
  socket.end(input)
  return await text(socket)
}

async function startTcpApp(place: Place): Promise<void> {
  place.spawn('node', [appPath('tcp-app'), '--port', '9000'])
  await place.waitForPort(9000)
}

describe('a lab with two nodes', () => {
  let lab: Lab
  let node1: LabNode
  let client: Pod
  let server: Pod
  let neighbour: Pod
  let outside: Place

  beforeAll(async () => {
    lab = await Lab.create()
    const machine = lab.machine('control')
    const [first, second] = await Promise.all([lab.node('node-1'), lab.node('node-2')])
    outside = await machine
    node1 = first
    ;[client, neighbour, server] = await Promise.all([
      first.pod('client'),
      first.pod('neighbour'),
      second.pod('a-server-with-a-long-name'),
    ])
    await startTcpApp(server)
  })

  afterAll(async () => {
    await lab.dispose()
    await lab.dispose()
    expect(tracesOf(lab.prefix)).toEqual([])
  })

  test('gives each pod its addresses, a default route and a link of its own', async () => {
    expect([client.address4, client.address6]).toEqual(['10.244.1.2', 'fd00:244:1::2'])
    expect(client.namespace.addresses().sort()).toEqual([client.address4, client.address6])
    expect(server.link.length).toBeLessThanOrEqual(15)
    const { stdout, code } = await node1.exec('ip', ['-o', 'link', 'show', client.link])
    expect(code).toBe(0)
    expect(stdout).toContain('mtu 1500')
    for (const family of ['-4', '-6']) {
      const routes = await client.exec('ip', [family, 'route', 'show', 'default'])
      expect(routes.stdout).toContain('default via')
    }
  })

  test('routes TCP between pods of both nodes and from outside, on both families', async () => {
    for (const place of [client, neighbour, outside]) {
      expect(await talk(place, server.address4, 9000, 'peer\n')).toContain(`${place.address4} `)
      expect(await talk(place, server.address6, 9000, 'peer\n')).toContain(`${place.address6} `)
    }
  })

  test('passes a pod’s frames over its link on the node', async () => {
    const capture = captureFrames(node1.namespace, client.link, { maxBytes: 1_000_000 })
    expect(await talk(client, server.address4, 9000, 'echo\nin the open')).toBe('in the open')
    const packets = (await capture.stop()).map(({ bytes }) => parseFrame(bytes))
    expect(packets.some((packet) => packet?.payload.includes('in the open'))).toBe(true)
  })

  test('knows names from its hosts file, in pods that exist and that come', async () => {
    lab.hosts([{ address: server.address4, names: ['server', 'server.shop'] }])
    const late = await node1.pod('late')
    const lookUp = ['-s', 'files', 'hosts', 'server.shop']
    for (const pod of [client, late]) {
      const { stdout } = await pod.exec('getent', lookUp, { hosts: true })
      expect(stdout).toContain(server.address4)
    }
    expect((await client.exec('getent', lookUp)).code).not.toBe(0)
    await late.remove()
  })

  test('makes a pod anew with the same addresses, reachable at once', async () => {
    const pod = await node1.pod('phoenix')
    await startTcpApp(pod)
    expect(await talk(server, pod.address4, 9000, 'echo\n1')).toBe('1')
    expect(await talk(neighbour, pod.address6, 9000, 'echo\n1')).toBe('1')
    const before = { key: pod.namespace.key, address: pod.address4 }
    await pod.recreate()
    expect(pod.address4).toBe(before.address)
    expect(processesIn(pod.namespace.key)).toEqual([])
    await startTcpApp(pod)
    const began = performance.now()
    expect(await talk(server, pod.address4, 9000, 'echo\n2')).toBe('2')
    expect(await talk(neighbour, pod.address6, 9000, 'echo\n2')).toBe('2')
    expect(performance.now() - began).toBeLessThan(500)
    await pod.remove()
    expect(existsSync(pod.namespacePath)).toBe(false)
    expect(() => pod.namespace).toThrow('is removed')
    const again = await node1.pod('phoenix', { addresses: pod })
    expect(again.address4).toBe(pod.address4)
    await again.remove()
  })

  test('refuses names that are taken or cannot be names', async () => {
    expect(await codeOfRejection(node1.pod('client'))).toBe('LAB_NAME')
    expect(await codeOfRejection(node1.pod('../client'))).toBe('LAB_NAME')
    expect(await codeOfRejection(lab.node('fabric'))).toBe('LAB_NAME')
    expect(await codeOfRejection(Lab.create({ name: 'with-dash' }))).toBe('LAB_NAME')
    expect(await codeOfRejection(Lab.create({ name: lab.id }))).toBe('LAB_TAKEN')
  })

  test('lives beside another lab that has the same addresses', async () => {
    await using other = await Lab.createUnique(lab.id)
    expect(other.id).toBe(`${lab.id}2`)
    const pod = await (await other.node('node-1')).pod('client')
    expect(pod.address4).toBe(client.address4)
    await startTcpApp(pod)
    expect(await talk(pod, pod.address4, 9000, 'echo\nother')).toBe('other')
    expect(client.isListening(9000)).toBe(false)
    expect(await Lab.cleanLeftovers()).not.toContain(lab.id)
    expect(await talk(client, server.address4, 9000, 'echo\nmine')).toBe('mine')
    await other.dispose()
    expect(tracesOf(other.prefix)).toEqual([])
    expect(await talk(client, server.address4, 9000, 'echo\nmine')).toBe('mine')
  })
})

describe('programs in a place', () => {
  let lab: Lab
  let place: Place

  beforeAll(async () => {
    lab = await Lab.create()
    place = await lab.machine('box')
  })

  afterAll(async () => await lab.dispose())

  test('run with a fixed environment and give back all they say', async () => {
    const script = 'cat; echo "$COLOUR ${VITEST:-none}" >&2; exit 3'
    const result = await place.exec('sh', ['-c', script], { input: 'in', env: { COLOUR: 'red' } })
    expect(result).toEqual({ code: 3, signal: null, stdout: 'in', stderr: 'red none\n' })
    const slow = await place.exec('sleep', ['30'], { timeoutMs: 50 })
    expect(slow.signal).toBe('SIGKILL')
    expect(await codeOfRejection(place.exec('no-such-program', []))).toBe('LAB_COMMAND')
  })

  test('are followed line by line until they end', async () => {
    const lines: string[] = []
    const started = place.spawn('sh', ['-c', 'echo one; echo two >&2; echo three; exec sleep 30'], {
      onLine: (line) => lines.push(line),
    })
    expect(await started.waitForLine(/^thr/)).toBe('three')
    expect(await started.waitForLine(/two/)).toBe('two')
    expect(lines.sort()).toEqual(['one', 'three', 'two'])
    expect(await codeOfRejection(started.waitForLine(/never/, 20))).toBe('LAB_TIMEOUT')
    const waiting = codeOfRejection(started.waitForLine(/never/))
    expect(await started.stop()).toEqual({ code: null, signal: 'SIGTERM' })
    expect(await waiting).toBe('LAB_EXITED')
    const missing = place.spawn('no-such-program', [])
    expect(await missing.exited).toEqual({ code: null, signal: null })
    expect(await codeOfRejection(missing.waitForLine(/x/))).toBe('LAB_EXITED')
  })

  test('end with the lab even if they ignore SIGTERM', async () => {
    const other = await Lab.create()
    const box = await other.machine('box')
    const stubborn = box.spawn('sh', [
      '-c',
      'trap "" TERM; echo ready; while :; do sleep 0.1; done',
    ])
    await stubborn.waitForLine(/ready/)
    await other.dispose()
    expect((await stubborn.exited).signal).toBe('SIGKILL')
  })

  test('are waited for by port, within limits', async () => {
    expect(await codeOfRejection(place.waitForPort(9000, 30))).toBe('LAB_TIMEOUT')
  })
})

test('what a killed owner leaves is removed by the next lab, processes too', async () => {
  const owner = `
    import { Lab } from ${JSON.stringify(new URL('./lab.ts', import.meta.url).href)}
    const lab = await Lab.create()
    lab.hosts([])
    const pod = await (await lab.node('node-1')).pod('client')
    const app = pod.spawn('sleep', ['60'])
    console.log(JSON.stringify({ id: lab.id, prefix: lab.prefix, pid: app.pid }))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', owner], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const left = JSON.parse(line) as { id: string; prefix: string; pid: number }
  expect(await Lab.cleanLeftovers()).not.toContain(left.id)
  expect(tracesOf(left.prefix).length).toBeGreaterThan(4)
  expect(startTimeOf(left.pid)).toBeDefined()
  child.kill('SIGKILL')
  await once(child, 'exit')
  await using _next = await Lab.create()
  expect(tracesOf(left.prefix)).toEqual([])
  expect(startTimeOf(left.pid)).toBeUndefined()
})
