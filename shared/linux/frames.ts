import { AmbitError } from '../runtime/errors.ts'
import * as libc from './libc.ts'
import type { NetworkNamespace } from './namespace.ts'

const AF_PACKET = 17
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000
const ETH_P_ALL = 3
const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33
const SO_TIMESTAMPNS = 35
const SOL_PACKET = 263
const PACKET_STATISTICS = 6
const MSG_TRUNC = 0x20

/** What the kernel keeps for us while the event loop is busy elsewhere. */
const KERNEL_BUFFER_BYTES = 64 * 1_048_576
/** Segmentation offload makes frames of up to 64 KiB on virtual links. */
const LONGEST_FRAME = 66_000
const BATCH = 32
/** Batches of one turn; the event loop goes on in between. */
const BATCHES_PER_TURN = 8

// struct mmsghdr and the control message of a timestamp, on 64-bit Linux.
const HEADER_BYTES = 64
const IOVEC_BYTES = 16
const CONTROL_BYTES = 64

export interface Frame {
  /** When the kernel saw it, on the scale of `performance.now()`. */
  readonly at: number
  /** From the Ethernet header on, cut to the capture's `snapLength`. */
  readonly bytes: Buffer
}

export interface CaptureOptions {
  /** Bytes kept of each frame; default all. */
  readonly snapLength?: number
  /** Bytes kept in all; frames beyond are counted as dropped. */
  readonly maxBytes: number
}

/**
 * Listens to everything that passes an interface, both ways, from the moment of the call. `stop` it: an open capture
 * holds a socket. Throws `LINUX_ENODEV` if the namespace has no such interface.
 */
export function captureFrames(
  namespace: NetworkNamespace,
  interfaceName: string,
  options: CaptureOptions,
): FrameCapture {
  return new FrameCapture(
    namespace.run(() => packetSocket(interfaceName)),
    options,
  )
}

export class FrameCapture {
  readonly #fd: number
  readonly #snapLength: number
  readonly #maxBytes: number
  readonly #stopWatching: () => void
  readonly #frames: Frame[] = []
  #bytes = 0
  #dropped = 0
  #open = true

  /** Takes over a non-blocking packet socket. */
  constructor(fd: number, options: CaptureOptions) {
    this.#fd = fd
    this.#snapLength = options.snapLength ?? LONGEST_FRAME
    this.#maxBytes = options.maxBytes
    this.#stopWatching = libc.watchReadable(fd, () => this.#drain(BATCHES_PER_TURN))
  }

  /** Frames that are missing: beyond `maxBytes`, or lost by the kernel because nobody read in time. */
  get dropped(): number {
    if (this.#open) this.#dropped += lostByKernel(this.#fd)
    return this.#dropped
  }

  /** Reads what the kernel still has and ends the capture. Later calls give the same frames. */
  async stop(): Promise<Frame[]> {
    if (this.#open) {
      this.#stopWatching()
      this.#drain(Number.POSITIVE_INFINITY)
      this.#dropped += lostByKernel(this.#fd)
      this.#open = false
      libc.close(this.#fd)
    }
    return await Promise.resolve(this.#frames)
  }

  #drain(batches: number): void {
    const until = performance.now() + 1_000
    for (let batch = 0; batch < batches; batch++) {
      const received = receiveBatch(this.#fd, (at, bytes) => this.#keep(at, bytes))
      // A link that never falls silent must not hold the last reading for ever.
      if (received < BATCH || performance.now() > until) return
    }
  }

  #keep(at: number, bytes: Buffer): void {
    const kept = bytes.subarray(0, this.#snapLength)
    if (this.#bytes + kept.length > this.#maxBytes) {
      this.#dropped++
      return
    }
    this.#bytes += kept.length
    this.#frames.push({ at, bytes: Buffer.from(kept) })
  }
}

function packetSocket(interfaceName: string): number {
  const index = libc.ifNameToIndex(interfaceName)
  if (index === 0) throw libc.failure(`interface ${interfaceName}`)
  // Without a protocol it hears nothing until it is bound, so no frame of another interface gets in.
  const fd = libc.check(libc.socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0), 'socket(AF_PACKET)')
  try {
    const value = Int32Array.of(KERNEL_BUFFER_BYTES)
    libc.check(libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, value, 4), 'SO_RCVBUFFORCE')
    libc.check(
      libc.setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, Int32Array.of(1), 4),
      'SO_TIMESTAMPNS',
    )
    const address = Buffer.alloc(20)
    address.writeUInt16LE(AF_PACKET, 0)
    address.writeUInt16BE(ETH_P_ALL, 2)
    address.writeInt32LE(index, 4)
    libc.check(libc.bind(fd, address, address.length), `bind(${interfaceName})`)
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/** Reading the kernel's count sets it back to zero. */
function lostByKernel(fd: number): number {
  const statistics = new Uint32Array(2)
  const length = Uint32Array.of(8)
  return libc.getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, statistics, length) === 0
    ? (statistics[1] ?? 0)
    : 0
}

interface Scratch {
  readonly headers: Buffer
  readonly vectors: Buffer
  readonly control: Buffer
  readonly data: Buffer
}

let scratch: Scratch | undefined

/** Reads up to `BATCH` frames; the bytes given to `keep` are valid during that call only. */
function receiveBatch(fd: number, keep: (at: number, bytes: Buffer) => void): number {
  scratch ??= newScratch()
  const { headers, control, data } = scratch
  for (let index = 0; index < BATCH; index++) {
    headers.writeBigUInt64LE(BigInt(CONTROL_BYTES), index * HEADER_BYTES + 40)
  }
  const received = libc.recvmmsg(fd, headers, BATCH, MSG_TRUNC, null)
  if (received < 0) {
    if (libc.isErrno('EAGAIN') || libc.isErrno('EINTR')) return 0
    const error = libc.failure('recvmmsg')
    // The interface went down or away: what was seen until then stays valid.
    if (error.code === 'LINUX_ENETDOWN' || error.code === 'LINUX_ENXIO') return 0
    throw new AmbitError(error.code, `capture: ${error.message}`, { cause: error })
  }
  // Kernel stamps are wall time.
  const wallToMonotonic = performance.now() - Date.now()
  for (let index = 0; index < received; index++) {
    const size = headers.readUInt32LE(index * HEADER_BYTES + 56)
    const start = index * LONGEST_FRAME
    const stamp = index * CONTROL_BYTES + 16
    const wallMs =
      Number(control.readBigInt64LE(stamp)) * 1_000 +
      Number(control.readBigInt64LE(stamp + 8)) / 1e6
    keep(wallMs + wallToMonotonic, data.subarray(start, start + Math.min(size, LONGEST_FRAME)))
  }
  return received
}

function newScratch(): Scratch {
  const made: Scratch = {
    headers: Buffer.alloc(BATCH * HEADER_BYTES),
    vectors: Buffer.alloc(BATCH * IOVEC_BYTES),
    control: Buffer.alloc(BATCH * CONTROL_BYTES),
    data: Buffer.alloc(BATCH * LONGEST_FRAME),
  }
  const [vectors, control, data] = [made.vectors, made.control, made.data].map(libc.addressOf)
  if (vectors === undefined || control === undefined || data === undefined) throw new TypeError()
  for (let index = 0; index < BATCH; index++) {
    made.vectors.writeBigUInt64LE(data + BigInt(index * LONGEST_FRAME), index * IOVEC_BYTES)
    made.vectors.writeBigUInt64LE(BigInt(LONGEST_FRAME), index * IOVEC_BYTES + 8)
    const header = index * HEADER_BYTES
    made.headers.writeBigUInt64LE(vectors + BigInt(index * IOVEC_BYTES), header + 16)
    made.headers.writeBigUInt64LE(1n, header + 24)
    made.headers.writeBigUInt64LE(control + BigInt(index * CONTROL_BYTES), header + 32)
  }
  return made
}
