import { randomBytes } from 'node:crypto'
import { captureFrames, type Frame } from '../shared/linux/frames.ts'
import { type Packet, PROTOCOL_TCP, parseFrame } from '../shared/linux/packet.ts'
import { AmbitError } from '../shared/runtime/errors.ts'
import { PayloadSearch } from './payload-search.ts'
import { NODES } from './placement.ts'
import type { RunningShop, ShopPod } from './running-shop.ts'
import { failed, passed, type Verdict } from './verdict.ts'

const HBONE_PORT = 15_008
const PAYLOAD_BYTES = 24_000
const CAPTURE_BYTES = 64 * 1_048_576
const SHOWN = 2

/**
 * Frames on the links of pods and nodes while random payloads are fetched over them. Nothing of a payload may be
 * readable, and mesh pods may speak TCP with each other by HBONE only. The same search has to find what the legacy pod
 * sends in the clear, or it would prove nothing.
 */
export async function checkWire(shop: RunningShop): Promise<Verdict> {
  const links = [
    ...shop.meshPods.map(({ place }) => place),
    ...NODES.map((node) => shop.mesh.node(node)),
  ]
  const captures = links.map(({ namespace }) =>
    captureFrames(namespace, 'eth0', { maxBytes: CAPTURE_BYTES }),
  )
  const legacy = captureFrames(shop.pod('legacy').place.namespace, 'eth0', {
    maxBytes: CAPTURE_BYTES,
  })
  let secret: Buffer
  let plain: Buffer
  const frames: Frame[] = []
  let frames4: Frame[]
  try {
    secret = Buffer.concat(await fetchPayloads(shop))
    plain = await echo(shop, 'legacy', `http://${shop.pod('payments-v1').place.address4}:8080`)
  } finally {
    for (const capture of captures) frames.push(...(await capture.stop()))
    frames4 = await legacy.stop()
  }
  const dropped = captures.reduce((sum, capture) => sum + capture.dropped, 0)
  if (dropped > 0) return failed(`${dropped} frames were lost, so nothing is proven`)
  if (!frames4.some(({ bytes }) => new PayloadSearch(plain).foundIn(bytes))) {
    return failed('the search does not find what the legacy pod sent in the clear')
  }
  return judge(shop, frames, new PayloadSearch(secret))
}

function judge(shop: RunningShop, frames: readonly Frame[], search: PayloadSearch): Verdict {
  const names = new Map(shop.meshPods.flatMap(addressesOf))
  const readable: string[] = []
  const foreign: string[] = []
  let hbone = 0
  for (const { bytes } of frames) {
    const packet = parseFrame(bytes)
    const text = packet === undefined ? 'a frame that is not IP' : describe(packet, names)
    if (search.foundIn(bytes)) readable.push(text)
    if (packet === undefined || packet.protocol !== PROTOCOL_TCP) continue
    const isHbone = packet.sourcePort === HBONE_PORT || packet.destinationPort === HBONE_PORT
    const isBetweenPods = names.has(packet.source) && names.has(packet.destination)
    if (isHbone) hbone++
    else if (isBetweenPods) foreign.push(text)
  }
  if (readable.length > 0) {
    return failed(`${readable.length} frames show the payload: ${shown(readable)}`)
  }
  if (foreign.length > 0) {
    return failed(
      `${foreign.length} frames of TCP between mesh pods outside HBONE: ${shown(foreign)}`,
    )
  }
  if (hbone === 0) return failed('no frame of HBONE passed any link')
  return passed(
    `${frames.length} frames on ${shop.meshPods.length} pod and ${NODES.length} node links, ${hbone} of HBONE, none readable`,
  )
}

/** From one pod to one on the same node and one on the other, by both families. */
async function fetchPayloads(shop: RunningShop): Promise<readonly Buffer[]> {
  const targets = ['payments-v1', 'payments-v2'].flatMap((name) => {
    const { address4, address6 } = shop.pod(name).place
    return [`http://${address4}:8080`, `http://[${address6}]:8080`]
  })
  return await Promise.all(targets.map((target) => echo(shop, 'frontend', target)))
}

/** Sends a random payload and wants it back; gives the payload. */
async function echo(shop: RunningShop, pod: string, target: string): Promise<Buffer> {
  const payload = randomBytes(PAYLOAD_BYTES * 0.75).toString('base64')
  const { code, stdout, stderr } = await shop
    .pod(pod)
    .place.exec(
      'curl',
      [
        '-sS',
        '--fail',
        '--max-time',
        '5',
        '--data-binary',
        '@-',
        '-H',
        'expect:',
        `${target}/echo`,
      ],
      { input: payload },
    )
  if (code === 0 && stdout === payload) return Buffer.from(payload)
  const why = code === 0 ? 'the answer differs' : stderr.trim()
  throw new AmbitError('DEMO_FETCH', `${pod} to ${target}: ${why}`)
}

const addressesOf = ({ wanted, place }: ShopPod): [string, string][] => [
  [place.address4, wanted.name],
  [place.address6, wanted.name],
]

function describe(packet: Packet, names: ReadonlyMap<string, string>): string {
  const { source, destination, sourcePort, destinationPort } = packet
  const from = names.get(source) ?? source
  const to = names.get(destination) ?? destination
  return `${from}:${sourcePort} to ${to}:${destinationPort}`
}

const shown = (texts: readonly string[]): string => [...new Set(texts)].slice(0, SHOWN).join(', ')
