// The yardstick of this measurement.
// oxlint-disable-next-line no-restricted-imports
import { connect as connectHttp2, performServerHandshake } from 'node:http2'
import { createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import type { Channel, ChannelSink } from '../../shared/hbone/channel.ts'
import { connectHbone } from '../../shared/hbone/client.ts'
import { serveHbone } from '../../shared/hbone/server.ts'
import { StreamTunnel } from '../../shared/hbone/stream-tunnel.ts'
import { testCertificate } from '../../shared/hbone/testing-tls.ts'
import { silentLog } from '../../shared/runtime/log.ts'

// By hand: `node bench/micro/tunnel.ts`. Two threads over loopback TLS 1.3, our codec beside node:http2 as it is, in
// rotation. Ping-pong: 100 bytes there and back. Bulk: one stream, one way.

const KINDS = ['ours', 'http2'] as const
type Kind = (typeof KINDS)[number]
const PING = Buffer.alloc(100, 1)
const CHUNK = Buffer.alloc(64 * 1024, 2)
const ROUNDS = 5
const WINDOW = 4 * 1024 * 1024

/** What a workload needs of a tunnel, of either kind. */
interface Pipe {
  write(chunk: Uint8Array): boolean
  read(onData: (bytes: number) => void, onDrain: () => void): void
  close(): void
}

const channelPipe = (channel: Channel): Pipe => ({
  write: (chunk) => channel.write(chunk),
  read(onData, onDrain) {
    const sink: ChannelSink = {
      data: (chunk) => onData(chunk.length),
      ended: () => channel.end(),
      drained: onDrain,
      finished: () => undefined,
      failed: () => undefined,
    }
    channel.attach(sink)
    channel.resume()
  },
  close: () => channel.end(),
})

const streamPipe = (stream: Duplex): Pipe => ({
  write: (chunk) => stream.write(chunk),
  read(onData, onDrain) {
    stream.on('data', (chunk: Buffer) => onData(chunk.length))
    stream.on('drain', onDrain)
    stream.on('end', () => stream.end())
    stream.on('error', () => undefined)
  },
  close: () => void stream.end(),
})

const pipeOf = (tunnel: unknown): Pipe => {
  if (!(tunnel instanceof StreamTunnel)) throw new Error('not a tunnel of ours')
  return channelPipe(tunnel.channel)
}

/** The server: answers each 100 bytes of small messages, swallows bulk. */
function echo(pipe: Pipe): void {
  let owed = 0
  pipe.read(
    (bytes) => {
      if (bytes > 4_000) return
      owed += bytes
      while (owed >= PING.length) {
        owed -= PING.length
        pipe.write(PING)
      }
    },
    () => undefined,
  )
}

function serve(tls: TLSSocket, kind: Kind): void {
  tls.on('error', () => undefined)
  if (kind === 'ours') {
    serveHbone(tls, (incoming) => echo(pipeOf(incoming.accept({}))), { log: silentLog })
    return
  }
  const session = performServerHandshake(tls, {
    settings: { initialWindowSize: WINDOW, maxFrameSize: 1024 * 1024 },
  })
  session.setLocalWindowSize(WINDOW * 4)
  session.on('error', () => undefined)
  session.on('stream', (stream) => {
    stream.respond({ ':status': 200 })
    echo(streamPipe(stream))
  })
}

async function dial(
  port: number,
  kind: Kind,
  count: number,
): Promise<{ pipes: Pipe[]; tls: TLSSocket }> {
  const tls = connectTls({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
  })
  tls.setNoDelay(true)
  await new Promise<void>((resolve) => tls.once('secureConnect', resolve))
  const pipes: Pipe[] = []
  if (kind === 'ours') {
    const client = await connectHbone(tls, { log: silentLog, handshakeTimeoutMs: 5_000 })
    for (let index = 0; index < count; index++) {
      const request = { authority: '10.0.0.1:80', headers: {} }
      pipes.push(pipeOf(await client.open(request, AbortSignal.timeout(5_000))))
    }
    return { pipes, tls }
  }
  const session = connectHttp2('https://peer', {
    createConnection: () => tls,
    settings: { initialWindowSize: WINDOW, maxFrameSize: 1024 * 1024 },
  })
  session.setLocalWindowSize(WINDOW * 4)
  session.on('error', () => undefined)
  for (let index = 0; index < count; index++) {
    const stream = session.request({ ':method': 'CONNECT', ':authority': '10.0.0.1:80' })
    await new Promise((resolve) => stream.once('response', resolve))
    pipes.push(streamPipe(stream))
  }
  return { pipes, tls }
}

/** Round trips per second. */
async function pingPong(port: number, kind: Kind, count: number, ms: number): Promise<number> {
  const { pipes, tls } = await dial(port, kind, count)
  let trips = 0
  for (const pipe of pipes) {
    let got = 0
    pipe.read(
      (bytes) => {
        got += bytes
        while (got >= PING.length) {
          got -= PING.length
          trips++
          pipe.write(PING)
        }
      },
      () => undefined,
    )
    pipe.write(PING)
  }
  await after(ms / 4)
  const from = trips
  const began = performance.now()
  await after(ms)
  const rate = ((trips - from) * 1_000) / (performance.now() - began)
  tls.destroy()
  return rate
}

/** GB per second, as the client could send them. */
async function bulk(port: number, kind: Kind, ms: number): Promise<number> {
  const { pipes, tls } = await dial(port, kind, 1)
  const pipe = pipes[0]
  if (pipe === undefined) throw new Error('no tunnel')
  let sent = 0
  const pump = (): void => {
    do sent += CHUNK.length
    while (pipe.write(CHUNK))
  }
  pipe.read(() => undefined, pump)
  pump()
  await after(ms / 4)
  const from = sent
  const began = performance.now()
  await after(ms)
  const rate = (sent - from) / (performance.now() - began) / 1e6
  tls.destroy()
  return rate
}

const after = async (ms: number): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? 0

async function main(): Promise<void> {
  const ports = new Map<Kind, number>()
  for (const kind of KINDS) {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { kind, ...testCertificate() },
    })
    ports.set(kind, await new Promise<number>((resolve) => worker.once('message', resolve)))
    worker.unref()
  }
  const workloads: [string, string, (port: number, kind: Kind) => Promise<number>][] = [
    ['ping-pong, 1 tunnel', 'per s', (port, kind) => pingPong(port, kind, 1, 1_000)],
    ['ping-pong, 64 tunnels', 'per s', (port, kind) => pingPong(port, kind, 64, 1_000)],
    ['bulk, 1 stream', 'GB/s', (port, kind) => bulk(port, kind, 1_000)],
  ]
  for (const [name, unit, run] of workloads.filter(([name]) =>
    name.includes(process.argv[2] ?? ''),
  )) {
    const results = new Map<Kind, number[]>(KINDS.map((kind) => [kind, []]))
    for (let round = 0; round < ROUNDS; round++) {
      for (const kind of KINDS) results.get(kind)?.push(await run(ports.get(kind) ?? 0, kind))
    }
    const [ours, theirs] = KINDS.map((kind) => median(results.get(kind) ?? []))
    const show = (value = 0): string => (value > 100 ? value.toFixed(0) : value.toFixed(3))
    process.stdout.write(
      `${name}: ours ${show(ours)} ${unit}, node:http2 ${show(theirs)}, ratio ${((ours ?? 0) / (theirs ?? 1)).toFixed(2)}\n`,
    )
  }
}

function worker(): void {
  const report = parentPort?.postMessage.bind(parentPort)
  const { kind, key, cert } = workerData as { kind: Kind; key: string; cert: string }
  const acceptor = createTlsServer({ key, cert, minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] })
  acceptor.on('secureConnection', (tls) => serve(tls, kind))
  const listener = createServer({ allowHalfOpen: true, noDelay: true })
  listener.on('connection', (socket) => acceptor.emit('connection', socket))
  listener.listen(0, '127.0.0.1', () => {
    const address = listener.address()
    if (address !== null && typeof address === 'object') report?.(address.port)
  })
}

if (isMainThread) await main()
else worker()
