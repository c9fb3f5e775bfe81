import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readlinkSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf } from '../runtime/errors.ts'
import { captureFrames } from './frames.ts'
import { NetworkNamespace } from './namespace.ts'
import { parseFrame } from './packet.ts'
import { processesIn } from './process.ts'
import {
  closeFd,
  dupFd,
  fdOf,
  listenTcp,
  originalDestination,
  SO_MARK,
  SOL_SOCKET,
  SOL_TCP,
  setKeepAlive,
  socketOption,
  TCP_KEEPIDLE,
  tcpSocket,
} from './sockets.ts'

const name = `ambit-u${process.pid}-ns`
const path = `/var/run/netns/${name}`
const ip = (...args: string[]): void => void execFileSync('ip', args)
const here = (): string => readlinkSync('/proc/thread-self/ns/net')
const codeOfThrown = (fn: () => unknown): string | undefined => {
  try {
    fn()
    return undefined
  } catch (error) {
    return codeOf(error)
  }
}

let namespace: NetworkNamespace

beforeAll(() => {
  ip('netns', 'add', name)
  ip('-n', name, 'link', 'set', 'lo', 'up')
  ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth1')
  ip('-n', name, 'link', 'set', 'eth1', 'up')
  ip('-n', name, 'link', 'set', 'eth0', 'up')
  ip('-n', name, 'addr', 'add', '10.1.2.3/24', 'dev', 'eth0')
  ip('-n', name, 'addr', 'add', 'fd00:0:0:1::3/64', 'dev', 'eth0', 'nodad')
  ip('-n', name, 'route', 'add', 'default', 'via', '10.1.2.1')
  namespace = NetworkNamespace.open(path)
})

afterAll(() => {
  ip('netns', 'delete', name)
  namespace[Symbol.dispose]()
})

describe('NetworkNamespace', () => {
  test('is visited for one call, nested or throwing, and left again', () => {
    const outside = here()
    using own = NetworkNamespace.own()
    const seen = namespace.run(() => [here(), own.run(here), here()])
    expect(seen).toEqual([seen[0], outside, seen[0]])
    expect(seen[0]).not.toBe(outside)
    expect(here()).toBe(outside)
    expect(() =>
      namespace.run(() => {
        throw new Error('inside')
      }),
    ).toThrow('inside')
    expect(here()).toBe(outside)
  })

  test('refuses asynchronous work', () => {
    expect(codeOfThrown(() => namespace.run(() => Promise.resolve(1)))).toBe('NAMESPACE_ASYNC')
  })

  test('has one key, whatever handle shows it', () => {
    using again = NetworkNamespace.open(path)
    using own = NetworkNamespace.own()
    expect(again.key).toBe(namespace.key)
    expect(own.key).not.toBe(namespace.key)
    expect(namespace.run(() => NetworkNamespace.own().key)).toBe(namespace.key)
  })

  test('lists canonical addresses without loopback and link-local ones', () => {
    expect(namespace.addresses().sort()).toEqual(['10.1.2.3', 'fd00:0:0:1::3'])
    expect(namespace.hasIpv6()).toBe(true)
  })

  test('names the missing path and the file that is no namespace', () => {
    expect(() => NetworkNamespace.open('/var/run/netns/ambit-none')).toThrow(
      '/var/run/netns/ambit-none',
    )
    using file = NetworkNamespace.open('/etc/passwd')
    expect(() => file.run(() => 1)).toThrow('setns(/etc/passwd): Invalid argument')
  })

  test('cannot be used after disposal', () => {
    const closed = NetworkNamespace.open(path)
    closed[Symbol.dispose]()
    closed[Symbol.dispose]()
    expect(codeOfThrown(() => closed.run(() => 1))).toBe('LINUX_EBADF')
  })

  test('gives its network to a child process that is spawned inside', async () => {
    const child = namespace.run(() => spawn('sleep', ['30'], { stdio: 'ignore' }))
    try {
      await once(child, 'spawn')
      using of = NetworkNamespace.open(`/proc/${child.pid}/ns/net`)
      expect(of.key).toBe(namespace.key)
      expect(processesIn(namespace.key)).toContain(child.pid)
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    expect(processesIn(namespace.key)).not.toContain(child.pid)
  })

  test('knows a namespace that a user namespace owns', async () => {
    expect(namespace.ownedByInitialUserNamespace()).toBe(true)
    const child = spawn('unshare', [
      '--user',
      '--net',
      '--map-root-user',
      'sh',
      '-c',
      'echo; exec sleep 30',
    ])
    try {
      await once(child.stdout, 'data')
      using foreign = NetworkNamespace.open(`/proc/${child.pid}/ns/net`)
      expect(foreign.ownedByInitialUserNamespace()).toBe(false)
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  test('works in a worker without moving the main thread', async () => {
    const outside = here()
    const worker = new Worker(
      `import { parentPort } from 'node:worker_threads'
       import { readlinkSync } from 'node:fs'
       const { NetworkNamespace } = await import(${JSON.stringify(new URL('./namespace.ts', import.meta.url).href)})
       using ns = NetworkNamespace.open(${JSON.stringify(path)})
       const here = () => readlinkSync('/proc/thread-self/ns/net')
       parentPort.postMessage([ns.run(here), here()])`,
      { eval: true, execArgv: ['--input-type=module'] },
    )
    const [seen] = (await once(worker, 'message')) as [string[]]
    expect(seen).toEqual([namespace.run(here), outside])
    expect(here()).toBe(outside)
    await worker.terminate()
  })
})

describe('sockets in a namespace', () => {
  test('are reached there, keep a foreign source address, and tell their original destination', async () => {
    const fd = namespace.run(() => listenTcp({ host: '::', port: 0, mark: 0x539, reusePort: true }))
    expect(socketOption(fd, SOL_SOCKET, SO_MARK)).toBe(0x539)
    const server = createServer({ allowHalfOpen: true })
    server.listen({ fd })
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    // An address that routes back to the pod, as ztunnel's rules arrange it.
    ip('-n', name, 'route', 'add', 'local', '10.9.9.0/24', 'dev', 'lo')
    ip('-n', name, '-6', 'route', 'add', 'local', 'fd09::/64', 'dev', 'lo')
    ip(
      'netns',
      'exec',
      name,
      'nft',
      `add table inet t; add chain inet t o { type nat hook output priority -100; }
       add rule inet t o tcp dport 81 redirect to :${port}`,
    )
    for (const [family, bindSource, host, unrouted] of [
      [4, '10.9.9.9', '10.1.2.3', '10.1.2.77'],
      [6, 'fd09::9', 'fd00:0:0:1::3', 'fd00:0:0:1::77'],
    ] as const) {
      const socket = new Socket({
        fd: namespace.run(() => tcpSocket({ family, mark: 7, bindSource })),
      })
      const accepted = once(server, 'connection') as Promise<[Socket]>
      socket.connect({ host, port })
      const [peer] = await accepted
      expect(peer.remoteAddress).toBe(family === 4 ? `::ffff:${bindSource}` : bindSource)
      expect(socketOption(fdOf(socket), SOL_SOCKET, SO_MARK)).toBe(7)
      setKeepAlive(fdOf(peer), { idleSeconds: 45, intervalSeconds: 15, count: 9 })
      expect(socketOption(fdOf(peer), SOL_TCP, TCP_KEEPIDLE)).toBe(45)
      socket.destroy()
      peer.destroy()
      expect(codeOfThrown(() => fdOf(peer))).toBe('LINUX_EBADF')

      const redirected = new Socket({ fd: namespace.run(() => tcpSocket({ family })) })
      const taken = once(server, 'connection') as Promise<[Socket]>
      redirected.connect({ host: unrouted, port: 81 })
      const [captured] = await taken
      expect(originalDestination(fdOf(captured))).toEqual({ address: unrouted, port: 81 })
      redirected.destroy()
      captured.destroy()
    }
    server.close()
  })

  test('refuse a taken port and an address of another place, without losing a descriptor', () => {
    const fd = namespace.run(() => listenTcp({ host: '0.0.0.0', port: 0 }))
    const copy = dupFd(fd)
    closeFd(fd)
    expect(codeOfThrown(() => closeFd(fd))).toBe('LINUX_EBADF')
    closeFd(copy)
    expect(codeOfThrown(() => namespace.run(() => listenTcp({ host: '192.0.2.9', port: 1 })))).toBe(
      'LINUX_EADDRNOTAVAIL',
    )
    expect(() => tcpSocket({ family: 4, bindSource: 'nowhere' })).toThrow(
      "'nowhere' is not an IP address",
    )
  })
})

describe('captureFrames', () => {
  test('sees the frames of its interface only, with times, up to its limit', async () => {
    const capture = captureFrames(namespace, 'lo', { maxBytes: 4_096 })
    const fd = namespace.run(() => listenTcp({ host: '0.0.0.0', port: 0 }))
    const server = createServer((socket) => socket.end('a secret\n'))
    server.listen({ fd })
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const before = performance.now()
    const client = new Socket({ fd: namespace.run(() => tcpSocket({ family: 4 })) })
    client.connect({ host: '127.0.0.1', port })
    client.resume()
    await once(client, 'close')
    const frames = await capture.stop()
    expect(await capture.stop()).toBe(frames)
    expect(capture.dropped).toBe(0)
    const packets = frames.map(({ bytes }) => parseFrame(bytes))
    expect(packets.some((packet) => packet?.payload.includes('a secret'))).toBe(true)
    expect(
      packets.every((packet) => [packet?.sourcePort, packet?.destinationPort].includes(port)),
    ).toBe(true)
    for (const { at } of frames) {
      expect(at).toBeGreaterThan(before - 20)
      expect(at).toBeLessThan(performance.now() + 20)
    }

    const small = captureFrames(namespace, 'lo', { maxBytes: 100, snapLength: 60 })
    const again = new Socket({ fd: namespace.run(() => tcpSocket({ family: 4 })) })
    again.connect({ host: '127.0.0.1', port })
    again.resume()
    await once(again, 'close')
    expect((await small.stop()).map(({ bytes }) => bytes.length)).toEqual([60])
    expect(small.dropped).toBeGreaterThan(3)
    server.close()
  })

  test('names an interface that is not there', () => {
    expect(() => captureFrames(namespace, 'eth9', { maxBytes: 1 })).toThrow(
      'interface eth9: No such device',
    )
  })
})
