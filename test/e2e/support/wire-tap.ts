import { PayloadSearch } from '../../../demo/payload-search.ts'
import type { Place } from '../../../shared/lab/place.ts'
import { captureFrames, type FrameCapture } from '../../../shared/linux/frames.ts'
import { type Packet, PROTOCOL_TCP, parseFrame, TCP_FLAGS } from '../../../shared/linux/packet.ts'
import { AmbitError } from '../../../shared/runtime/errors.ts'

export const HBONE_PORT = 15_008

export interface Heard {
  /** When the kernel saw it, on the scale of `performance.now()`. */
  readonly at: number
  /** Whose link. */
  readonly link: string
  readonly packet: Packet
}

/** Enough for the headers and the line of a request. */
const SNAP_BYTES = 400
const MOST_BYTES = 64 * 1_048_576

/** Listens to all frames on the links of pods and nodes. */
export class WireTap implements AsyncDisposable {
  readonly #captures: (readonly [string, FrameCapture])[] = []

  constructor(...places: readonly Place[]) {
    for (const place of places) this.add(place)
  }

  /** Listens there too, from now on; for a pod whose namespace was made anew. */
  add(place: Place): void {
    const options = { snapLength: SNAP_BYTES, maxBytes: MOST_BYTES }
    this.#captures.push([place.name, captureFrames(place.namespace, 'eth0', options)])
  }

  /** Ends it; throws if frames were lost, because nothing is proven then. */
  async stop(): Promise<Recording> {
    const heard: Heard[] = []
    for (const [link, capture] of this.#captures) {
      for (const { at, bytes } of await capture.stop()) {
        const packet = parseFrame(bytes)
        if (packet !== undefined) heard.push({ at, link, packet })
      }
      if (capture.dropped > 0) {
        throw new AmbitError('TEST_TAP', `${capture.dropped} frames of ${link} were lost`)
      }
    }
    return new Recording(heard.sort((a, b) => a.at - b.at))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#captures.map(([, capture]) => capture.stop()))
  }
}

/** What passed the links. */
export class Recording {
  readonly all: readonly Heard[]

  constructor(all: readonly Heard[]) {
    this.all = all
  }

  /** TCP between two of these places, by HBONE. */
  hbone(places: readonly Place[]): readonly Heard[] {
    return this.#between(places).filter(({ packet }) => isHbone(packet))
  }

  /** TCP between two of these places outside HBONE. */
  outsideHbone(places: readonly Place[]): readonly Heard[] {
    return this.#between(places).filter(({ packet }) => !isHbone(packet))
  }

  /** Packets in which 12 or more successive bytes of the secret are to be read. */
  readable(secret: Buffer): readonly Heard[] {
    const search = new PayloadSearch(secret)
    return this.all.filter(({ packet }) => search.foundIn(packet.payload))
  }

  #between(places: readonly Place[]): readonly Heard[] {
    const addresses = new Set(places.flatMap(({ address4, address6 }) => [address4, address6]))
    return this.all.filter(
      ({ packet }) =>
        packet.protocol === PROTOCOL_TCP &&
        addresses.has(packet.source) &&
        addresses.has(packet.destination),
    )
  }
}

/** The first packet of a connection, or a repetition of it. */
export const isFirstPacket = ({ packet }: Heard): boolean =>
  (packet.tcpFlags & (TCP_FLAGS.syn | TCP_FLAGS.ack)) === TCP_FLAGS.syn

/** In few words, for a failing test. */
export const inWords = ({ at, link, packet }: Heard): string =>
  `${at.toFixed(1)} ms, ${link}: ${packet.source}:${packet.sourcePort} to ${packet.destination}:${packet.destinationPort}`

const isHbone = ({ sourcePort, destinationPort }: Packet): boolean =>
  sourcePort === HBONE_PORT || destinationPort === HBONE_PORT
