import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PayloadSearch } from '../../demo/payload-search.ts'
import { namespaceObject } from '../../shared/lab/objects.ts'
import type { Place } from '../../shared/lab/place.ts'
import { captureFrames } from '../../shared/linux/frames.ts'
import { type Packet, PROTOCOL_TCP, parseFrame } from '../../shared/linux/packet.ts'
import { AmbientMesh, type PodName, WAYS } from './support/ambient-mesh.ts'
import { startApps } from './support/programs.ts'

const HBONE_PORT = 15_008
const WINDOW = 12
const PAYLOAD_BYTES = 200_000
const CAPTURE_BYTES = 64 * 1_048_576
const PODS = ['caller', 'near', 'far'] as const satisfies readonly PodName[]

let mesh: AmbientMesh
/** In a namespace that is not in the mesh. */
let outsider: Place

beforeAll(async () => {
  mesh = await AmbientMesh.start()
  await mesh.mesh.apply('outside', [namespaceObject({ name: 'outside' })])
  const made = await mesh.mesh.addPod('outsider', { node: 'node-1', namespace: 'outside' })
  await mesh.mesh.announced('TCP', [made])
  outsider = made.pod
  await Promise.all([startApps(mesh.pod('near')), startApps(mesh.pod('far'))])
})

afterAll(async () => await mesh?.[Symbol.asyncDispose]())

interface Link {
  readonly place: Place
  readonly name: string
}

/** Every link that is not loopback, of pods and nodes. */
async function links(): Promise<readonly Link[]> {
  const places = [
    ...PODS.map((name) => mesh.pod(name)),
    mesh.mesh.node('node-1'),
    mesh.mesh.node('node-2'),
  ]
  const found = await Promise.all(
    places.map(async (place) => {
      const { stdout } = await place.exec('ip', ['-j', 'link', 'show', 'up'])
      const list = JSON.parse(stdout) as { readonly ifname: string }[]
      return list.map(({ ifname }) => ({ place, name: ifname })).filter(({ name }) => name !== 'lo')
    }),
  )
  return found.flat()
}

interface Seen {
  readonly packets: readonly Packet[]
  /** Of the frames that show the payload. */
  readonly readable: readonly string[]
  /** How many of the links had HBONE on them, by name. */
  readonly hboneOn: ReadonlySet<string>
}

/** Runs `exchange` and tells what passed all links meanwhile. */
async function watch(payload: Buffer, exchange: () => Promise<void>): Promise<Seen> {
  const captures = (await links()).map(({ place, name }) => ({
    name: `${place.name}/${name}`,
    capture: captureFrames(place.namespace, name, { maxBytes: CAPTURE_BYTES }),
  }))
  const search = new PayloadSearch(payload, WINDOW)
  const packets: Packet[] = []
  const readable = new Set<string>()
  const hboneOn = new Set<string>()
  try {
    await exchange()
  } finally {
    for (const { name, capture } of captures) {
      const frames = await capture.stop()
      expect(capture.dropped).toBe(0)
      for (const { bytes } of frames) {
        const packet = parseFrame(bytes)
        if (search.foundIn(bytes)) readable.add(`${name}: ${ends(packet)}`)
        if (packet === undefined) continue
        packets.push(packet)
        if (isHbone(packet)) hboneOn.add(name)
      }
    }
  }
  return { packets, readable: [...readable], hboneOn }
}

const isHbone = ({ protocol, sourcePort, destinationPort }: Packet): boolean =>
  protocol === PROTOCOL_TCP && (sourcePort === HBONE_PORT || destinationPort === HBONE_PORT)

const ends = (packet: Packet | undefined): string =>
  packet === undefined
    ? 'not IP'
    : `${packet.source}:${packet.sourcePort} to ${packet.destination}:${packet.destinationPort}`

/** Posts the payload and wants it back. */
async function echo(from: Place, host: string, payload: Buffer): Promise<void> {
  const answer = await from.exec(
    'bash',
    ['--norc', '-ec', `curl -sS -g --fail --data-binary @- http://${host}:8080/echo | base64 -w 0`],
    { input: payload },
  )
  expect(answer).toMatchObject({ code: 0, stderr: '' })
  expect(answer.stdout === payload.toString('base64')).toBe(true)
}

describe.each(WAYS)('E2 from a pod to %s by IPv%i', (target, family) => {
  test('no piece of the payload is readable on any link, and TCP between pods is HBONE', async () => {
    const payload = randomBytes(PAYLOAD_BYTES)
    const seen = await watch(payload, () =>
      echo(mesh.pod('caller'), mesh.host(target, family), payload),
    )
    expect(seen.readable).toEqual([])
    const pods = new Set(PODS.flatMap((name) => [mesh.pod(name).address4, mesh.pod(name).address6]))
    const foreign = seen.packets.filter(
      (packet) =>
        pods.has(packet.source) &&
        pods.has(packet.destination) &&
        (packet.protocol === PROTOCOL_TCP ? !isHbone(packet) : packet.protocol === 17),
    )
    expect(foreign.map(ends)).toEqual([])
    // The links that such a connection must pass were really watched.
    const onTheWay =
      target === 'near'
        ? ['caller/eth0', 'near/eth0', 'node-1/p-caller', 'node-1/p-near']
        : ['caller/eth0', 'far/eth0', 'node-1/eth0', 'node-2/eth0', 'node-2/p-far']
    expect([...seen.hboneOn]).toEqual(expect.arrayContaining(onTheWay))
  })

  test("the application sees the caller's real address", async () => {
    const url = `http://${mesh.host(target, family)}:8080/`
    const { stdout } = await mesh.pod('caller').exec('curl', ['-sS', '-g', '--fail', url])
    const { address4, address6 } = mesh.pod('caller')
    expect(JSON.parse(stdout)).toMatchObject({
      app: target,
      peer: family === 4 ? address4 : address6,
    })
  })
})

describe('E2 with a caller outside the mesh', () => {
  test.each([4, 6] as const)('the same search finds its payload by IPv%i', async (family) => {
    const payload = randomBytes(PAYLOAD_BYTES)
    const seen = await watch(payload, () => echo(outsider, mesh.host('far', family), payload))
    const links = new Set(seen.readable.map((text) => text.replace(/:.*/, '')))
    expect([...links]).toEqual(
      expect.arrayContaining(['far/eth0', 'node-1/eth0', 'node-2/eth0', 'node-2/p-far']),
    )
  })

  test.each([4, 6] as const)('the application sees its real address by IPv%i', async (family) => {
    const url = `http://${mesh.host('far', family)}:8080/`
    const { stdout } = await outsider.exec('curl', ['-sS', '-g', '--fail', url])
    expect(JSON.parse(stdout)).toMatchObject({
      peer: family === 4 ? outsider.address4 : outsider.address6,
    })
  })
})
