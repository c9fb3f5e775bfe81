import { once } from 'node:events'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { appPath } from '../../shared/lab/apps/app-path.ts'
import { tcpSocket } from '../../shared/linux/sockets.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { AmbientMesh } from './support/ambient-mesh.ts'

/** With what ztunnel keeps for itself, room for about a hundred connections. */
const LIMIT = 800
const CONNECTIONS = 200

let mesh: AmbientMesh

beforeAll(async () => {
  const main = join(packageRoot(), 'cli/main.ts')
  const command = ['prlimit', `--nofile=${LIMIT}:${LIMIT}`, process.execPath, main] as const
  mesh = await AmbientMesh.start({ command })
  mesh.pod('near').spawn(process.execPath, [appPath('tcp-app'), '--port', '9000'])
  await mesh.pod('near').waitForPort(9000)
})

afterAll(async () => {
  await mesh?.[Symbol.asyncDispose]()
})

describe('at the descriptor limit', () => {
  test('accepting pauses, is counted, and resumes; admin and configuration go on', async () => {
    const sockets = Array.from({ length: CONNECTIONS }, () => open())
    const answers = sockets.map((socket) => answerOf(socket))
    const node = mesh.mesh.node('node-1')
    await mesh.mesh.eventually('accepting paused', async () => {
      const metrics = await mesh.mesh.get(node, 15_020, '/metrics')
      return /^ambit_accept_pauses_total [1-9]/m.test(metrics)
    })
    // Nothing is refused: what is not accepted yet waits in the kernel's queue.
    expect(sockets.filter((socket) => socket.destroyed)).toEqual([])
    const pod = await mesh.mesh.addPod('late', { node: 'node-1' })
    await mesh.mesh.captured(pod)
    for (const socket of sockets) socket.end('echo\nstill here')
    expect(await Promise.all(answers)).toEqual(sockets.map(() => 'still here'))
  })
})

/** A connection that stays open until it is ended. */
function open(): Socket {
  const fd = mesh.pod('caller').namespace.run(() => tcpSocket({ family: 4 }))
  const socket = new Socket({ fd, allowHalfOpen: true })
  socket.connect({ host: mesh.pod('near').address4, port: 9_000 })
  return socket
}

async function answerOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
  })
  await once(socket, 'end', { signal: AbortSignal.timeout(60_000) })
  return text
}
