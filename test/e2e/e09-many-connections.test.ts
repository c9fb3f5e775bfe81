import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AmbientMesh } from './support/ambient-mesh.ts'
import { descriptorsOf, type Footprint, footprint } from './support/footprint.ts'
import { connectFrom, startApps } from './support/programs.ts'

const CONNECTIONS = 2_000
const BURSTS = 3
const PAYLOAD_BYTES = 4_096
const NODES = ['node-1', 'node-2'] as const
type Node = (typeof NODES)[number]

let mesh: AmbientMesh

beforeAll(async () => {
  mesh = await AmbientMesh.start({ ztunnelArgs: ['--pool-idle', '1s'], logLevel: 'warn' })
  await startApps(mesh.pod('far'))
})

afterAll(async () => await mesh?.[Symbol.asyncDispose]())

/** Gives back what an echo of the payload brings; the connection stays open. */
async function echo(socket: Socket, payload: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  const whole = new Promise<void>((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes >= payload.length) resolve()
    })
    socket.once('error', reject)
    socket.once('end', () => reject(new Error('ended early')))
  })
  socket.write('echo\n')
  socket.write(payload)
  await whole
  return Buffer.concat(chunks)
}

/** Opens all at once, holds all until each has its answer, and ends them well. */
async function burst(count: number): Promise<void> {
  const { address4, address6 } = mesh.pod('far')
  const payloads = Array.from({ length: count }, () => randomBytes(PAYLOAD_BYTES))
  const sockets = await Promise.all(
    payloads.map((_, index) =>
      connectFrom(mesh.pod('caller'), index % 2 === 0 ? address4 : address6, 9000),
    ),
  )
  const answers = await Promise.all(
    sockets.map((socket, index) => echo(socket, payloads[index] ?? Buffer.alloc(0))),
  )
  expect(sockets.filter((socket) => socket.readyState === 'open').length).toBe(count)
  const wrong = answers.filter((answer, index) => payloads[index]?.equals(answer) !== true)
  expect(wrong.length).toBe(0)
  const closed = sockets.map((socket) => once(socket, 'close'))
  for (const socket of sockets) socket.removeAllListeners('end').end()
  await Promise.all(closed)
}

const measure = async (): Promise<Record<Node, Footprint>> => ({
  'node-1': await footprint(mesh.mesh.node('node-1'), mesh.mesh.ztunnel('node-1')),
  'node-2': await footprint(mesh.mesh.node('node-2'), mesh.mesh.ztunnel('node-2')),
})

const descriptors = (): readonly number[] =>
  NODES.map((node) => descriptorsOf(mesh.mesh.ztunnel(node)))

/** When connections and tunnels are gone and unused HBONE connections were let go. */
async function settle(start: readonly number[]): Promise<void> {
  await mesh.mesh.eventually('descriptors as at the start', async () => {
    await Promise.resolve()
    return descriptors().every((count, index) => count === start[index])
  })
}

describe('E9', () => {
  test(`${CONNECTIONS} connections at once are all correct, and ${BURSTS} such bursts leave nothing`, async () => {
    await measure()
    const before = descriptors()
    // What is made once, with the first connection, is no leak.
    await burst(1)
    await settle(before)
    const baseline = await measure()
    const after: Record<Node, Footprint>[] = []
    for (let index = 0; index < BURSTS; index++) {
      await burst(CONNECTIONS)
      await settle(before)
      after.push(await measure())
    }
    const [first, , third] = after
    for (const node of NODES) {
      const figures = JSON.stringify({
        node,
        baseline: baseline[node],
        after: after.map((one) => one[node]),
      })
      expect(third?.[node].rssBytes, figures).toBeLessThanOrEqual(
        (first?.[node].rssBytes ?? 0) * 1.1,
      )
      expect(third?.[node].heapBytes, figures).toBeLessThanOrEqual(baseline[node].heapBytes * 1.2)
    }
    expect(descriptors()).toEqual(before)
  })
})
