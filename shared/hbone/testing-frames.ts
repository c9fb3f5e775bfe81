import type { TLSSocket } from 'node:tls'

// Test support only: an HTTP/2 peer that sends and sees single frames, so that tests judge what is on the wire.

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
} as const

export const END_STREAM = 0x1
const ACK = 0x1
const END_HEADERS = 0x4

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

export class FramePeer {
  readonly tls: TLSSocket
  readonly frames: Frame[] = []
  /** True once the other end has closed. */
  ended = false
  /** Set to leave PING without an answer. */
  mute = false
  readonly #watchers = new Set<() => void>()
  #buffer: Buffer
  #prefaceLeft: number

  /** `role` is what this peer plays. */
  constructor(tls: TLSSocket, role: 'client' | 'server') {
    this.tls = tls
    this.#buffer = Buffer.alloc(0)
    this.#prefaceLeft = role === 'server' ? 24 : 0
    tls.on('data', (chunk: Buffer) => this.#onData(chunk))
    tls.on('end', () => tls.end())
    tls.on('close', () => {
      this.ended = true
      this.#look()
    })
    tls.on('error', () => undefined)
    if (role === 'client') tls.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    this.send(FRAME.SETTINGS, 0, 0)
  }

  send(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    const head = Buffer.alloc(9)
    head.writeUIntBE(payload.length, 0, 3)
    head[3] = type
    head[4] = flags
    head.writeUInt32BE(stream, 5)
    this.tls.write(Buffer.concat([head, payload]))
  }

  headers(stream: number, fields: Readonly<Record<string, string>>, flags = 0): void {
    const parts: Buffer[] = []
    for (const [name, value] of Object.entries(fields)) {
      parts.push(Buffer.from([0]), hpackString(name), hpackString(value))
    }
    this.send(FRAME.HEADERS, END_HEADERS | flags, stream, Buffer.concat(parts))
  }

  connect(stream: number, authority = '10.0.0.1:80', flags = 0): void {
    this.headers(stream, { ':method': 'CONNECT', ':authority': authority }, flags)
  }

  reset(stream: number, code: number): void {
    this.send(FRAME.RST_STREAM, 0, stream, uint32(code))
  }

  goaway(lastStream: number, code: number): void {
    this.send(FRAME.GOAWAY, 0, 0, Buffer.concat([uint32(lastStream), uint32(code)]))
  }

  /** The first frame that matches, of those that came or will come; rejects when the other end closes before. */
  async seen(matches: (frame: Frame) => boolean): Promise<Frame> {
    return await new Promise((resolve, reject) => {
      const look = (): void => {
        const frame = this.frames.find(matches)
        if (frame === undefined && !this.ended) return
        this.#watchers.delete(look)
        if (frame === undefined) reject(new Error('closed before the frame came'))
        else resolve(frame)
      }
      this.#watchers.add(look)
      look()
    })
  }

  async closed(): Promise<void> {
    if (!this.tls.closed) await new Promise((resolve) => this.tls.once('close', resolve))
  }

  #onData(chunk: Buffer): void {
    const skip = Math.min(this.#prefaceLeft, chunk.length)
    this.#prefaceLeft -= skip
    this.#buffer = Buffer.concat([this.#buffer, chunk.subarray(skip)])
    for (;;) {
      if (this.#buffer.length < 9) break
      const length = this.#buffer.readUIntBE(0, 3)
      if (this.#buffer.length < 9 + length) break
      this.#onFrame({
        type: this.#buffer[3] ?? 0,
        flags: this.#buffer[4] ?? 0,
        stream: this.#buffer.readUInt32BE(5) & 0x7fffffff,
        payload: Buffer.from(this.#buffer.subarray(9, 9 + length)),
      })
      this.#buffer = this.#buffer.subarray(9 + length)
    }
    this.#look()
  }

  #onFrame(frame: Frame): void {
    this.frames.push(frame)
    const acked = (frame.flags & ACK) !== 0
    if (frame.type === FRAME.SETTINGS && !acked) this.send(FRAME.SETTINGS, ACK, 0)
    if (frame.type === FRAME.PING && !acked && !this.mute) {
      this.send(FRAME.PING, ACK, 0, frame.payload)
    }
  }

  #look(): void {
    for (const watcher of this.#watchers) watcher()
  }
}

export const isReset =
  (stream: number) =>
  (frame: Frame): boolean =>
    frame.type === FRAME.RST_STREAM && frame.stream === stream

export const isHeaders =
  (stream: number) =>
  (frame: Frame): boolean =>
    frame.type === FRAME.HEADERS && frame.stream === stream

export const isEnd =
  (stream: number) =>
  (frame: Frame): boolean =>
    frame.stream === stream && frame.type <= FRAME.HEADERS && (frame.flags & END_STREAM) !== 0

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** RFC 7541 section 5.2, without Huffman coding. */
function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
  const length = [127]
  let rest = bytes.length - 127
  for (; rest >= 128; rest >>= 7) length.push((rest & 0x7f) | 0x80)
  length.push(rest)
  return Buffer.concat([Buffer.from(length), bytes])
}
