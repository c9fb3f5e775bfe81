import type { Socket, SocketConstructorOpts } from 'node:net'
import { type Channel, type ChannelSink, WRITE_HIGH_BYTES } from './channel.ts'
import { HboneError } from './errors.ts'
import { giveSlab, SLAB_BYTES, takeSlab } from './slab.ts'

/** What one read takes. All sockets of a thread read into it in turn: a sink keeps nothing of what it is shown. */
const READ_BYTES = 64 * 1024
let readBuffer: Buffer | undefined

/** Options that a socket of `bufferedSocketChannel` has to be made with. */
export type BufferedSocketOptions = Required<
  Pick<SocketConstructorOpts, 'allowHalfOpen' | 'onread'>
>

/** A TCP socket as a channel; made with `allowHalfOpen: true`, not read from yet. Its cut is a TCP reset. */
export function socketChannel(socket: Socket): Channel {
  const channel = new SocketChannel(socket)
  socket.on('data', (chunk: Buffer) => channel.received(chunk))
  socket.pause()
  return channel
}

/**
 * The same for a socket that `make` makes with the given options: `new Socket({ ...options, fd })`, or what
 * `net.connect` returns. It reads into a buffer that is used again, which saves an allocation and a stream for each
 * read.
 */
export function bufferedSocketChannel(make: (options: BufferedSocketOptions) => Socket): {
  readonly socket: Socket
  readonly channel: Channel
} {
  readBuffer ??= Buffer.allocUnsafeSlow(READ_BYTES)
  let channel: SocketChannel | undefined
  const callback = (bytes: number, buffer: Uint8Array): boolean => {
    channel?.received(bytes === buffer.length ? buffer : buffer.subarray(0, bytes))
    return channel?.reading ?? false
  }
  const socket = make({ allowHalfOpen: true, onread: { buffer: readBuffer, callback } })
  channel = new SocketChannel(socket)
  socket.pause()
  return { socket, channel }
}

class SocketChannel implements Channel {
  readonly #socket: Socket
  #sink: ChannelSink | undefined
  reading = false
  /** Gathers what one turn of the event loop writes. */
  #slab: Buffer | undefined
  #used = 0
  readonly #full: { readonly slab: Buffer; readonly used: number }[] = []
  #waiting = 0
  /** How much the last write had: the next one will likely have as much. */
  #expected = 0
  #flying: Buffer | undefined
  #immediate: NodeJS.Immediate | undefined
  #wantsRoom = false
  #ending = false
  #ended = false
  #finished = false
  #failure: Error | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.once('end', this.#onEnd)
    socket.once('finish', this.#onFinish)
    socket.on('error', this.#fail)
    socket.once('close', () => this.#fail(new HboneError('HBONE_CLOSED', 'closed before its end')))
    if (socket.errored !== null) this.#failure = socket.errored
    else if (socket.destroyed) this.#failure = new HboneError('HBONE_CLOSED', 'closed already')
  }

  attach(sink: ChannelSink): void {
    if (this.#sink !== undefined) throw new HboneError('HBONE_PROTOCOL', 'the socket has a reader')
    this.#sink = sink
    if (this.#failure !== undefined) sink.failed(this.#failure)
  }

  write(chunk: Uint8Array): boolean {
    if (this.#failure !== undefined || this.#ending) return true
    const slab = this.#room(chunk.length)
    slab.set(chunk, this.#used)
    this.#used += chunk.length
    this.#waiting += chunk.length
    this.#wake()
    if (this.#waiting < WRITE_HIGH_BYTES) return true
    this.#wantsRoom = true
    return false
  }

  end(): void {
    if (this.#failure !== undefined || this.#ending) return
    this.#ending = true
    this.#wake()
  }

  cut(cause: Error): void {
    if (this.#failure !== undefined || this.#settled) return
    reset(this.#socket)
    this.#fail(cause)
  }

  pause(): void {
    this.reading = false
    this.#socket.pause()
  }

  resume(): void {
    if (this.#failure !== undefined || this.#ended) return
    this.reading = true
    this.#socket.resume()
  }

  received(chunk: Uint8Array): void {
    if (this.#failure === undefined) this.#sink?.data(chunk)
  }

  #room(bytes: number): Buffer {
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
      this.#full.push({ slab, used: this.#used })
      this.#used = 0
    }
    const fresh = takeSlab(Math.max(bytes, Math.min(this.#expected, SLAB_BYTES)))
    this.#slab = fresh
    return fresh
  }

  get #settled(): boolean {
    return this.#ended && this.#finished
  }

  #wake(): void {
    if (this.#immediate !== undefined || this.#flying !== undefined) return
    this.#immediate = setImmediate(this.#flush)
  }

  #flush = (): void => {
    this.#immediate = undefined
    if (this.#failure !== undefined || this.#flying !== undefined) return
    const first = this.#full.shift() ?? this.#gathered()
    if (first === undefined) {
      if (this.#ending) this.#socket.end()
      return
    }
    this.#flying = first.slab
    this.#waiting -= first.used
    this.#socket.write(first.slab.subarray(0, first.used), this.#onWritten)
  }

  #gathered(): { readonly slab: Buffer; readonly used: number } | undefined {
    const slab = this.#slab
    if (slab === undefined) return undefined
    const used = this.#used
    this.#expected = used
    this.#slab = undefined
    this.#used = 0
    return { slab, used }
  }

  #onWritten = (error?: Error | null): void => {
    const slab = this.#flying
    this.#flying = undefined
    if (slab === undefined || (error !== undefined && error !== null)) return
    giveSlab(slab)
    if (this.#failure !== undefined) return
    this.#flush()
    if (!this.#wantsRoom || this.#waiting >= WRITE_HIGH_BYTES) return
    this.#wantsRoom = false
    this.#sink?.drained()
  }

  #onEnd = (): void => {
    if (this.#failure !== undefined) return
    this.#ended = true
    this.#sink?.ended()
  }

  #onFinish = (): void => {
    if (this.#failure !== undefined || this.#finished) return
    this.#finished = true
    this.#sink?.finished()
  }

  #fail = (error: Error): void => {
    if (this.#failure !== undefined || this.#settled) return
    this.#failure = error
    if (this.#immediate !== undefined) clearImmediate(this.#immediate)
    this.#full.length = 0
    this.#slab = undefined
    this.#sink?.failed(error)
  }
}

function reset(socket: Socket): void {
  if (socket.destroyed) return
  // While the kernel call that sends FIN is under way, a reset fails and the descriptor would be lost.
  const finishing = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0
  if (finishing) {
    socket.once('finish', () => reset(socket))
    return
  }
  socket.resetAndDestroy()
}
