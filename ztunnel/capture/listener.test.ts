import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Lab } from '../../shared/lab/lab.ts'
import type { Place } from '../../shared/lab/place.ts'
import { tcpSocket } from '../../shared/linux/sockets.ts'
import { silentLog } from '../../shared/runtime/log.ts'
import { closePodSockets, Listener, openPodSockets } from './listener.ts'

const PORT = 15_001

let lab: Lab
let box: Place

beforeAll(async () => {
  lab = await Lab.create()
  box = await lab.machine('box')
})

afterAll(async () => await lab?.dispose())

/** Accepts at the outbound port until it is disposed. */
function listen(onConnection: (socket: Socket) => void) {
  const sockets = openPodSockets(box.namespace)
  const listener = new Listener({ fd: sockets.outbound, log: silentLog, onConnection })
  listener.resume()
  return {
    listener,
    [Symbol.dispose]: () => {
      listener.pause()
      closePodSockets(sockets)
    },
  }
}

async function connect(): Promise<Socket> {
  const socket = new Socket({ fd: box.namespace.run(() => tcpSocket({ family: 4 })) })
  socket.connect({ host: '127.0.0.1', port: PORT })
  await once(socket, 'connect')
  return socket
}

describe('Listener', () => {
  test('the kernel keeps thousands of connections for it', async () => {
    using _listener = listen((socket) => socket.destroy())
    const limit = box.namespace.run(() => readFileSync('/proc/sys/net/core/somaxconn', 'latin1'))
    const { stdout } = await box.exec('ss', ['-ltnH', `sport = :${PORT}`])
    const [, , longest] = stdout.split(/\s+/)
    expect(Number(longest)).toBe(Math.min(4_096, Number(limit)))
  })

  test('what comes while it is paused is accepted afterwards', async () => {
    const accepted = Promise.withResolvers<Socket>()
    let count = 0
    using open = listen((socket) => {
      count++
      accepted.resolve(socket)
    })
    open.listener.pause()
    const client = await connect()
    expect(count).toBe(0)
    open.listener.resume()
    const server = await accepted.promise
    expect(server.isPaused()).toBe(true)
    for (const socket of [client, server]) socket.destroy()
  })
})
