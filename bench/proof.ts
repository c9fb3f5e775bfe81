import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Socket } from 'node:net'
import type { Place } from '../shared/lab/place.ts'
import { captureFrames, type FrameCapture } from '../shared/linux/frames.ts'
import { tcpSocket } from '../shared/linux/sockets.ts'
import { AmbitError } from '../shared/runtime/errors.ts'
import { pause } from '../shared/runtime/lifecycle.ts'
import { APP_PORTS } from './apps.ts'
import type { Hop, HopCount, RunningTopology, Topology } from './topology/topology.ts'

/** What was seen while a known payload passed. */
export interface Proof {
  /** On the links of the client and the server. */
  readonly frames: number
  readonly framesThatShowThePayload: number
  readonly hops: readonly HopMove[]
}

/** How far a hop's own counters have gone. */
export interface HopMove {
  readonly name: string
  readonly connections: number
  readonly bytes?: number | undefined
}

const PAYLOAD_BYTES = 24_000
const WINDOW = 12
const CAPTURE_BYTES = 16 * 1_048_576
const ANSWER_MS = 10_000
const COUNTED_MS = 3_000
const LOOK_MS = 20

/**
 * Sends random bytes to the echo server and back. Every hop has to count the connection, and frames on both pods'
 * links show the bytes exactly where the topology is not encrypted. Throws `BENCH_PATH` otherwise.
 */
export async function provePath(topology: Topology, running: RunningTopology): Promise<Proof> {
  const payload = Buffer.from(randomBytes(PAYLOAD_BYTES).toString('base64').slice(0, PAYLOAD_BYTES))
  const before = await readHops(running.hops)
  const captures = [running.client, running.server].map(({ namespace }) =>
    captureFrames(namespace, 'eth0', { maxBytes: CAPTURE_BYTES }),
  )
  try {
    await echo(running.client, running.host('echo'), payload)
  } finally {
    await Promise.all(captures.map((capture) => capture.stop()))
  }
  const { frames, showing } = await search(captures, payload, topology.name)
  if (topology.encrypted && showing > 0) {
    throw new AmbitError('BENCH_PATH', `${topology.name}: ${showing} frames show the payload`)
  }
  if (!topology.encrypted && showing === 0) {
    throw new AmbitError(
      'BENCH_PATH',
      `${topology.name}: no frame shows the payload, so the search proves nothing`,
    )
  }
  const hops = await hopMoves(running.hops, before, 2 * PAYLOAD_BYTES)
  return { frames, framesThatShowThePayload: showing, hops }
}

export const readHops = async (hops: readonly Hop[]): Promise<readonly HopCount[]> =>
  await Promise.all(hops.map((hop) => hop.read()))

/**
 * What has passed since `before`. Each hop has to have seen a connection and, where it counts bytes, as many as given;
 * it gets a moment to count. Throws `BENCH_PATH` naming the hop that has not.
 */
export async function hopMoves(
  hops: readonly Hop[],
  before: readonly HopCount[],
  leastBytes: number,
  withinMs = COUNTED_MS,
): Promise<readonly HopMove[]> {
  const until = performance.now() + withinMs
  for (;;) {
    const moves = movesBetween(hops, before, await readHops(hops))
    const idle = moves.find((one) => one.connections < 1 || (one.bytes ?? leastBytes) < leastBytes)
    if (idle === undefined) return moves
    if (performance.now() > until) {
      throw new AmbitError(
        'BENCH_PATH',
        `${idle.name} has counted ${idle.connections} connections and ${idle.bytes ?? 'no'} bytes: the traffic went another way`,
      )
    }
    await pause(LOOK_MS)
  }
}

function movesBetween(
  hops: readonly Hop[],
  before: readonly HopCount[],
  after: readonly HopCount[],
): readonly HopMove[] {
  return hops.map(({ name }, index) => {
    const from = before[index]
    const to = after[index]
    const connections = (to?.connections ?? 0) - (from?.connections ?? 0)
    if (to?.bytes === undefined) return { name, connections }
    return { name, connections, bytes: to.bytes - (from?.bytes ?? 0) }
  })
}

async function search(captures: readonly FrameCapture[], payload: Buffer, name: string) {
  const windows = new Set<string>()
  for (let at = 0; at + WINDOW <= payload.length; at++)
    windows.add(payload.toString('latin1', at, at + WINDOW))
  let frames = 0
  let showing = 0
  for (const capture of captures) {
    for (const { bytes } of await capture.stop()) {
      frames++
      if (holdsAny(bytes, windows)) showing++
    }
    if (capture.dropped > 0) throw new AmbitError('BENCH_PATH', `${name}: frames were lost`)
  }
  if (frames === 0) throw new AmbitError('BENCH_PATH', `${name}: no frame passed the links`)
  return { frames, showing }
}

function holdsAny(bytes: Buffer, windows: ReadonlySet<string>): boolean {
  for (let at = 0; at + WINDOW <= bytes.length; at++) {
    if (windows.has(bytes.toString('latin1', at, at + WINDOW))) return true
  }
  return false
}

async function echo(client: Place, host: string, payload: Buffer): Promise<void> {
  const fd = client.namespace.run(() => tcpSocket({ family: 4 }))
  const socket = new Socket({ fd })
  socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error(`no answer in ${ANSWER_MS} ms`)))
  socket.connect({ host, port: APP_PORTS.echo })
  try {
    await once(socket, 'connect')
    socket.write('echo\n')
    // No half-close: nginx as it comes ends a connection then.
    socket.write(payload)
    const parts: Buffer[] = []
    let missing = payload.length
    for await (const part of socket) {
      if (!Buffer.isBuffer(part)) continue
      parts.push(part)
      missing -= part.length
      if (missing <= 0) break
    }
    if (!Buffer.concat(parts).equals(payload)) throw new Error('what came back differs')
  } catch (error) {
    throw new AmbitError('BENCH_PATH', `${client.name} to ${host}: the payload did not pass`, {
      cause: error,
    })
  } finally {
    socket.destroy()
  }
}
