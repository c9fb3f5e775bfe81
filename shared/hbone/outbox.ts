import type { ByteQueue } from './byte-queue.ts'
import type { HboneError } from './errors.ts'
import { DEFAULT_WINDOW_SIZE, FRAME_HEAD_BYTES, MIN_MAX_FRAME_SIZE } from './frame.ts'
import { writeDataHead } from './frame-writer.ts'
import { giveSlab, SLAB_BYTES, takeSlab } from './slab.ts'

/** The largest DATA frame that is sent; larger ones made nothing faster. */
const MAX_DATA_BYTES = 64 * 1024
/** What one stream may send before the next one has its turn. */
const QUANTUM_BYTES = 64 * 1024
/** Of a slab: kept for frames that are not DATA. */
const CONTROL_MARGIN_BYTES = 16 * 1024
/** What one stream may put into a slab directly; the rest of the slab is for the others. */
const STREAM_SHARE_BYTES = 160 * 1024
/** Less room than this is not worth a frame head. */
const WORTHWHILE_BYTES = 512
/** A peer that makes us say more than this before it reads any of it is no peer to talk to. */
const OVERFLOW_BYTES = 1024 * 1024

const NOBODY: readonly Sender[] = []

/** The sending half of a stream, as the outbox needs it. */
export interface Sender {
  readonly id: number
  /** What the peer allows; may be negative (RFC 9113 section 6.9.2). */
  sendWindow: number
  readonly queue: ByteQueue
  /** Bytes put into the slab with this serial number. */
  slabSerial: number
  slabBytes: number
  /** Waits for its turn. */
  queued: boolean
  /** The stream ends when its queue is empty. */
  readonly endQueued: boolean
  endStaged(): void
  /** The queue has become shorter. */
  sent(): void
  /** Everything including END_STREAM was given to the kernel. */
  flushed(): void
  /** It will not be. */
  lost(error: HboneError): void
}

/** What one write carries. */
interface Batch {
  readonly bytes: Uint8Array
  readonly slab: Buffer
  /** Streams whose END_STREAM is in it. */
  readonly ends: readonly Sender[]
}

/**
 * All that goes out on one connection: frames are written into a slab, and the socket takes a slab at a time. Bytes
 * that have no room or no window wait in the queue of their stream; streams take turns.
 */
export class Outbox {
  /** What the peer allows for all streams together. */
  window = DEFAULT_WINDOW_SIZE
  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  maxFrameSize = MIN_MAX_FRAME_SIZE
  readonly #wake: () => void
  readonly #turns: Sender[] = []
  readonly #sealed: Batch[] = []
  #sealedBytes = 0
  #taken: Batch | undefined
  #slab: Buffer | undefined
  #used = 0
  #serial = 1
  #ends: Sender[] = []
  /** How large the last batch was: the next one will likely be the same. */
  #expected = 0
  /** The DATA frame at the end of the slab, while bytes of its stream can still be added to it. */
  #open: Sender | undefined
  #openAt = 0

  /** `wake` is called whenever something waits to be taken, often. */
  constructor(wake: () => void) {
    this.#wake = wake
  }

  /** Bytes in slabs, not taken yet. */
  get staged(): number {
    return this.#sealedBytes + this.#used
  }

  get overflowing(): boolean {
    return this.staged > OVERFLOW_BYTES
  }

  /** Makes a frame of `bytes` bytes: `write` puts it into the buffer at the offset. */
  frame(bytes: number, write: (out: Buffer, at: number) => void): void {
    this.#open = undefined
    const out = this.#reserve(bytes)
    write(out, this.#used)
    this.#used += bytes
    this.#wake()
  }

  /** Sends what it can of `chunk` at once, if nobody waits for a turn; returns how many bytes that was. */
  direct(sender: Sender, chunk: Uint8Array): number {
    if (this.#turns.length > 0 || sender.queue.length > 0) return 0
    let from = 0
    while (from < chunk.length) {
      const share = this.#shareOf(sender)
      const staged = this.#stage(sender, chunk, from, Math.min(chunk.length - from, share))
      if (staged === 0) break
      from += staged
    }
    return from
  }

  /** Gives a stream its turn for what it has queued, or for its end. */
  enqueue(sender: Sender): void {
    if (sender.queued) return
    if (sender.queue.length === 0) {
      if (sender.endQueued) this.#stageEnd(sender)
      return
    }
    // Without a window there is no turn to wait for: the WINDOW_UPDATE comes back here.
    if (sender.sendWindow <= 0) return
    sender.queued = true
    this.#turns.push(sender)
    this.#wake()
  }

  /** Takes a stream out whose queue was cleared; what is in the slab already goes out. */
  forget(sender: Sender): void {
    if (sender.queued) this.#turns.splice(this.#turns.indexOf(sender), 1)
    sender.queued = false
    if (this.#open === sender) this.#open = undefined
  }

  /** Fills the slab from the queues, fairly, and hands it out: one at a time, the next one after `taken`. */
  take(): Uint8Array | undefined {
    this.#pump()
    const sealed = this.#sealed.shift()
    if (sealed !== undefined) this.#sealedBytes -= sealed.bytes.length
    this.#taken = sealed ?? this.#seal()
    return this.#taken?.bytes
  }

  /** The kernel has what `take` gave. */
  taken(): void {
    const batch = this.#taken
    if (batch === undefined) return
    this.#taken = undefined
    giveSlab(batch.slab)
    for (const sender of batch.ends) sender.flushed()
  }

  /** Nothing will be sent any more: tells those whose end was on its way. */
  lose(error: HboneError): void {
    const batches = [...this.#sealed]
    if (this.#taken !== undefined) batches.push(this.#taken)
    const ends = [...batches.flatMap((batch) => batch.ends), ...this.#ends]
    this.#taken = undefined
    this.#turns.length = 0
    this.#sealed.length = 0
    this.#sealedBytes = 0
    this.#slab = undefined
    this.#used = 0
    this.#ends = []
    this.#open = undefined
    for (const sender of ends) sender.lost(error)
  }

  #pump(): void {
    let served: Sender[] | undefined
    while (this.window > 0 && this.#room() > 0) {
      const sender = this.#turns.shift()
      if (sender === undefined) break
      sender.queued = false
      this.#serve(sender)
      served ??= []
      served.push(sender)
    }
    // Told last: whoever hears of room writes at once.
    if (served !== undefined) for (const sender of served) sender.sent()
  }

  #serve(sender: Sender): void {
    const { queue } = sender
    let left = QUANTUM_BYTES
    while (left > 0 && queue.length > 0) {
      const front = queue.front(left)
      const staged = this.#stage(sender, front, 0, front.length)
      if (staged === 0) break
      queue.drop(staged)
      left -= staged
    }
    if (queue.length === 0) {
      if (sender.endQueued) this.#stageEnd(sender)
    } else if (sender.sendWindow > 0) {
      sender.queued = true
      // Stopped by the slab or the connection's window in the middle of its turn: it goes on with it.
      if (left > 0) this.#turns.unshift(sender)
      else this.#turns.push(sender)
    }
  }

  /** Puts bytes into DATA frames as far as windows and room go; returns how many of `length`, of one frame. */
  #stage(sender: Sender, chunk: Uint8Array, from: number, length: number): number {
    const open = this.#open === sender ? this.#used - this.#openAt - FRAME_HEAD_BYTES : 0
    const largest = Math.min(this.maxFrameSize, MAX_DATA_BYTES)
    const joins = this.#open === sender && open < largest
    const bytes = Math.min(
      length,
      sender.sendWindow,
      this.window,
      this.#room(),
      joins ? largest - open : largest,
    )
    if (bytes <= 0) return 0
    const head = joins ? 0 : FRAME_HEAD_BYTES
    const out = this.#reserve(head + bytes)
    if (!joins) {
      this.#open = sender
      this.#openAt = this.#used
    }
    const payload = this.#used + head
    out.set(
      from === 0 && bytes === chunk.length ? chunk : chunk.subarray(from, from + bytes),
      payload,
    )
    this.#used = payload + bytes
    writeDataHead(out, this.#openAt, sender.id, joins ? open + bytes : bytes, false)
    sender.sendWindow -= bytes
    this.window -= bytes
    sender.slabBytes = bytes + (sender.slabSerial === this.#serial ? sender.slabBytes : 0)
    sender.slabSerial = this.#serial
    this.#wake()
    return bytes
  }

  #stageEnd(sender: Sender): void {
    if (this.#open === sender && this.#slab !== undefined) {
      const length = this.#used - this.#openAt - FRAME_HEAD_BYTES
      writeDataHead(this.#slab, this.#openAt, sender.id, length, true)
      this.#open = undefined
    } else {
      this.frame(FRAME_HEAD_BYTES, (out, at) => writeDataHead(out, at, sender.id, 0, true))
    }
    this.#ends.push(sender)
    sender.endStaged()
  }

  #shareOf(sender: Sender): number {
    const used = sender.slabSerial === this.#serial ? sender.slabBytes : 0
    return STREAM_SHARE_BYTES - used
  }

  /** For payload of DATA. */
  #room(): number {
    if (this.#sealed.length > 0) return 0
    const room = SLAB_BYTES - CONTROL_MARGIN_BYTES - FRAME_HEAD_BYTES - this.#used
    return room < WORTHWHILE_BYTES ? 0 : room
  }

  #reserve(bytes: number): Buffer {
    const slab = this.#slab
    const needed = this.#used + bytes
    if (slab !== undefined) {
      if (needed <= slab.length) return slab
      if (needed <= SLAB_BYTES) {
        const larger = takeSlab(SLAB_BYTES)
        larger.set(slab.subarray(0, this.#used))
        giveSlab(slab)
        this.#slab = larger
        return larger
      }
      const sealed = this.#seal()
      if (sealed !== undefined) {
        this.#sealed.push(sealed)
        this.#sealedBytes += sealed.bytes.length
      }
    }
    const fresh = takeSlab(Math.max(bytes, Math.min(this.#expected, SLAB_BYTES)))
    this.#slab = fresh
    return fresh
  }

  #seal(): Batch | undefined {
    const slab = this.#slab
    if (slab === undefined) return undefined
    const ends = this.#ends.length === 0 ? NOBODY : this.#ends
    const batch = { bytes: slab.subarray(0, this.#used), slab, ends }
    this.#expected = this.#used
    this.#slab = undefined
    this.#used = 0
    this.#serial++
    this.#open = undefined
    if (ends !== NOBODY) this.#ends = []
    return batch
  }
}
