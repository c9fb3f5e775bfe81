import { Socket } from 'node:net'
import { type Channel, type ChannelSink, WRITE_HIGH_BYTES } from '../../shared/hbone/channel.ts'
import { giveSlab, SLAB_BYTES, takeSlab } from '../../shared/hbone/slab.ts'
import { closeFd, dupFd, fdOf, setResetOnClose } from '../../shared/linux/sockets.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'

/** What one read takes. All sockets of a thread read into it in turn: a sink keeps nothing of what it is shown. */
const READ_BYTES = 64 * 1024
let readBuffer: Buffer | undefined

/** A socket whose bytes are its channel's to move; everything else about it may be asked and listened for. */
export interface ChannelSocket {
  readonly socket: Socket
  readonly channel: Channel
}

/**
 * A TCP socket, connected or not yet, as a channel; owns `fd` from the call on. It reads into a buffer that is used
 * again, which saves an allocation and a stream for each read. Its cut is a TCP reset, and so is everything else that
 * closes it before it was ended, the death of this process included.
 */
export function socketChannel(fd: number): ChannelSocket {
  readBuffer ??= Buffer.allocUnsafeSlow(READ_BYTES)
  let channel: SocketChannel | undefined
  const callback = (bytes: number, buffer: Uint8Array): boolean => {
    channel?.received(bytes === buffer.length ? buffer : buffer.subarray(0, bytes))
    return channel?.reading ?? false
  }
  try {
    setResetOnClose(fd, true)
  } catch (error) {
    closeFd(fd)
    throw error
  }
  const socket = new Socket({ fd, allowHalfOpen: true, onread: { buffer: readBuffer, callback } })
  channel = new SocketChannel(socket, fd)
  socket.pause()
  return { socket, channel }
}

/**
 * The same for a socket that a server accepted and did not read from yet. Node lets a server's sockets read into new
 * buffers only, so this makes another one of the same connection; the first is gone after the call, also if it throws.
 */
export function acceptedChannel(accepted: Socket): ChannelSocket {
  try {
    const fd = dupFd(fdOf(accepted))
    accepted.destroy()
    return socketChannel(fd)
  } catch (error) {
    if (!accepted.destroyed) accepted.resetAndDestroy()
    throw error
  }
}

class SocketChannel implements Channel {
  readonly #socket: Socket
  readonly #fd: number
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

  constructor(socket: Socket, fd: number) {
    this.#socket = socket
    this.#fd = fd
    socket.once('end', this.#onEnd)
    socket.once('finish', this.#onFinish)
    socket.on('error', this.#fail)
    socket.once('close', this.#onClose)
  }

  attach(sink: ChannelSink): void {
    if (this.#sink !== undefined) {
      throw new AmbitError('CONNECTION_IN_USE', 'the socket has a reader')
    }
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
    // By now the kernel has the last byte and the end.
    if (!this.#socket.destroyed) setResetOnClose(this.#fd, false)
    if (this.#failure !== undefined || this.#finished) return
    this.#finished = true
    this.#sink?.finished()
  }

  #onClose = (): void => {
    this.#fail(new AmbitError('CONNECTION_CLOSED', 'the socket closed before its end'))
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
