import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { namespaceObject } from '../../shared/lab/objects.ts'
import type { Place } from '../../shared/lab/place.ts'
import { AmbientMesh } from './support/ambient-mesh.ts'
import { connectFrom, startApps } from './support/programs.ts'
import { connectedSockets } from './support/socket-table.ts'

/** Longer than the 60 s after which connection tracking forgets a silent half-closed connection. */
const SILENCE_SECONDS = 75
const SILENCE_TEST_MS = 110_000

let mesh: AmbientMesh
/** Not in the mesh. */
let outsider: Place
/** In the mesh, on the second node; its link is cut by a test. */
let lost: Place

beforeAll(async () => {
  mesh = await AmbientMesh.start()
  await mesh.mesh.apply('outside', [namespaceObject({ name: 'outside' })])
  const outside = await mesh.mesh.addPod('outsider', { node: 'node-2', namespace: 'outside' })
  const doomed = await mesh.mesh.addPod('lost', { node: 'node-2' })
  await Promise.all([mesh.mesh.announced('TCP', [outside]), mesh.mesh.captured(doomed)])
  outsider = outside.pod
  lost = doomed.pod
  await Promise.all([mesh.pod('near'), mesh.pod('far'), outsider, lost].map(startApps))
})

afterAll(async () => await mesh?.[Symbol.asyncDispose]())

/** Asks for an echo, so that the whole way is known to be open. */
async function openEcho(from: Place, host: string): Promise<Socket> {
  const socket = await connectFrom(from, host, 9000)
  socket.write('echo\n')
  expect(await echoed(socket, 'first')).toBe('first')
  return socket
}

async function echoed(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [chunk] = (await once(socket, 'data', { signal: AbortSignal.timeout(5_000) })) as [Buffer]
  return chunk.toString()
}

describe.concurrent('E3 in long silence', () => {
  test.each(['near', 'far'] as const)(
    `the answer to a client that has closed its side comes whole from %s, ${SILENCE_SECONDS} s later`,
    async (target) => {
      const question = 'a question\n'
      const { address4, address6 } = mesh.pod(target)
      const began = performance.now()
      const answers = await Promise.all(
        [address4, address6].map(async (address) => {
          // -N: closes the sending side after the end of the input.
          return await mesh.pod('caller').exec('nc', ['-N', address, '9000'], {
            input: `slow-answer ${SILENCE_SECONDS}\n${question}`,
            timeoutMs: SILENCE_TEST_MS,
          })
        }),
      )
      const hash = createHash('sha256').update(question).digest('hex')
      for (const answer of answers) {
        expect(answer).toMatchObject({ code: 0, stdout: `${question.length} ${hash}\n` })
      }
      expect(performance.now() - began).toBeGreaterThan(SILENCE_SECONDS * 1_000)
    },
    SILENCE_TEST_MS,
  )

  test(
    'an open connection without any byte works afterwards',
    async () => {
      const { address4, address6 } = mesh.pod('far')
      const sockets = await Promise.all([
        openEcho(mesh.pod('caller'), address4),
        openEcho(mesh.pod('caller'), address6),
        openEcho(mesh.pod('caller'), outsider.address4),
        openEcho(outsider, address4),
      ])
      await sleep(SILENCE_SECONDS * 1_000)
      for (const socket of sockets) {
        expect(await echoed(socket, 'again')).toBe('again')
        socket.destroy()
      }
    },
    SILENCE_TEST_MS,
  )

  test('a tunnel whose peer falls silent fails the transfer', async () => {
    const download = await connectFrom(mesh.pod('caller'), lost.address4, 9000)
    download.write('source 10000000000\n')
    await once(download, 'data')
    download.resume()
    const ended = new Promise<string>((resolve) => {
      download.once('end', () => resolve('end'))
      download.once('error', (error) => resolve('code' in error ? String(error.code) : 'error'))
    })
    await mesh.mesh.node('node-2').exec('ip', ['link', 'set', 'p-lost', 'down'])
    // 10 s until the next PING, 20 s for its answer.
    expect(await ended).toBe('ECONNRESET')
  }, 60_000)
})

describe('E3 keepalive', () => {
  test.each([
    ['through HBONE', () => [mesh.pod('caller'), mesh.pod('far')] as const],
    ['from outside the mesh', () => [outsider, mesh.pod('far')] as const],
    ['to outside the mesh', () => [mesh.pod('caller'), outsider] as const],
  ] as const)('is set on both legs of a connection %s', async (_name, way) => {
    const [from, to] = way()
    for (const family of [4, 6] as const) {
      const source = family === 4 ? from.address4 : from.address6
      const destination = family === 4 ? to.address4 : to.address6
      const socket = await openEcho(from, destination)
      const legs = ['node-1', 'node-2'].flatMap((node) =>
        connectedSockets(mesh.mesh.ztunnel(node).pid ?? 0),
      )
      // Towards the caller, the next hop and the application, whoever of them is there.
      const towards = {
        caller: legs.filter(
          (leg) => leg.peerAddress === source && leg.peerPort === socket.localPort,
        ),
        tunnel: legs.filter((leg) => leg.peerAddress === destination && leg.peerPort === 15_008),
        peer: legs.filter((leg) => leg.peerAddress === source && leg.peerPort !== socket.localPort),
        app: legs.filter((leg) => leg.peerAddress === destination && leg.peerPort === 9000),
      }
      const expected =
        from === outsider || to === outsider
          ? [towards.caller, towards.app]
          : [towards.caller, towards.tunnel, towards.peer, towards.app]
      for (const found of expected) {
        expect(found.length).toBeGreaterThan(0)
        for (const leg of found) {
          expect(leg).toMatchObject({ keepAlive: true, intervalSeconds: 15, count: 9 })
          expect(leg.idleSeconds).toBeLessThanOrEqual(45)
        }
      }
      socket.destroy()
    }
  })
})
