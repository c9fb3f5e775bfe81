import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import type { Clock } from '../runtime/clock.ts'
import { silentLog } from '../runtime/log.ts'
import { connectHbone } from './client.ts'
import { serveHbone } from './server.ts'
import type { HboneSettings } from './settings.ts'
import { type TlsPair, tlsPair } from './testing-tls.ts'
import type {
  HboneClientConnection,
  HboneServerConnection,
  IncomingTunnel,
  OpenedTunnel,
  Tunnel,
} from './tunnel.ts'

// Test support only: an HBONE connection of our own two ends.

export interface HbonePairOptions {
  readonly clock?: Clock
  readonly settings?: Partial<HboneSettings>
  readonly maxTunnels?: number
  /** Accepts every request and hands it to `open`, unless a test says otherwise. */
  readonly handler?: (tunnel: IncomingTunnel) => void
}

export class HbonePair implements Disposable {
  readonly tls: TlsPair
  readonly client: HboneClientConnection
  readonly server: HboneServerConnection
  readonly #accepted: Tunnel[]

  constructor(
    tls: TlsPair,
    client: HboneClientConnection,
    server: HboneServerConnection,
    accepted: Tunnel[],
  ) {
    this.tls = tls
    this.client = client
    this.server = server
    this.#accepted = accepted
  }

  /** Both ends of one new tunnel. */
  async open(): Promise<{ client: OpenedTunnel; server: Tunnel }> {
    const request = { authority: '10.0.0.1:80', headers: {} }
    const client = await this.client.open(request, AbortSignal.timeout(5_000))
    const server = this.#accepted.shift()
    if (server === undefined) throw new Error('nothing accepted')
    return { client, server }
  }

  [Symbol.dispose](): void {
    this.tls[Symbol.dispose]()
  }
}

export async function hbonePair(options: HbonePairOptions = {}): Promise<HbonePair> {
  const tls = await tlsPair()
  const accepted: Tunnel[] = []
  const accept = (tunnel: IncomingTunnel): void => void accepted.push(tunnel.accept({}))
  const common = { log: silentLog, ...options }
  const server = serveHbone(tls.server, options.handler ?? accept, common)
  const client = await connectHbone(tls.client, { ...common, handshakeTimeoutMs: 5_000 })
  return new HbonePair(tls, client, server, accepted)
}

export interface StreamEnd {
  readonly bytes: number
  /** `end`: the peer ended it well; otherwise the code of the error. */
  readonly how: string
}

/** Reads a stream until `end` or `error`. */
export async function readToEnd(stream: Duplex): Promise<StreamEnd> {
  let bytes = 0
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  const how = await endOf(stream)
  return { bytes, how }
}

/** How a stream ends; does not read it. */
export async function endOf(stream: Duplex): Promise<string> {
  return await new Promise((resolve) => {
    stream.once('end', () => resolve('end'))
    stream.once('error', (error) => resolve('code' in error ? String(error.code) : error.message))
    stream.once('close', () => resolve('close'))
  })
}

/** Writes until the stream says that it is full, and stays so for a while; the bytes it took. */
export async function fill(stream: Duplex): Promise<number> {
  const chunk = Buffer.alloc(64 * 1024)
  let written = 0
  for (;;) {
    written += chunk.length
    if (stream.write(chunk)) continue
    const timeout = AbortSignal.timeout(200)
    const drained = await once(stream, 'drain', { signal: timeout }).then(
      () => true,
      () => false,
    )
    if (!drained) return written
  }
}
