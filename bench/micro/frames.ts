import { FRAME_HEAD_BYTES } from '../../shared/hbone/frame.ts'
import type { FrameHandler } from '../../shared/hbone/frame-handler.ts'
import { FrameReader } from '../../shared/hbone/frame-reader.ts'
import {
  headersBytes,
  writeDataHead,
  writeHeaders,
  writeSettings,
} from '../../shared/hbone/frame-writer.ts'
import { HpackDecoder } from '../../shared/hbone/hpack-decoder.ts'
import { HeaderBlockCache, HpackEncoder } from '../../shared/hbone/hpack-encoder.ts'
import type { HeaderField } from '../../shared/hbone/hpack-static.ts'

// The pure layers of the codec on one core, no sockets: `node bench/micro/frames.ts`. Best of five rounds, since
// what else runs on the machine only ever makes a round slower.

const ROUNDS = 5
const ROUND_MS = 200
/** What TLS hands on at once: the payload of one record. */
const CHUNK_BYTES = 16_384

const LIMITS = {
  maxFrameSize: 1_048_576,
  maxHeaderBlockBytes: 65_536,
  maxHeaderFragments: 16,
}

let sink = 0

class Counting implements FrameHandler {
  dataBegin(_streamId: number, flowBytes: number): void {
    sink += flowBytes
  }
  dataSlice(_chunk: Uint8Array, start: number, end: number): void {
    sink += end - start
  }
  dataEnd(streamId: number): void {
    sink += streamId
  }
  headers(_streamId: number, _block: Uint8Array, start: number, end: number): void {
    sink += end - start
  }
  priority(): void {}
  rstStream(): void {}
  settings(): void {}
  settingsAck(): void {}
  ping(): void {}
  goaway(): void {}
  windowUpdate(_streamId: number, increment: number): void {
    sink += increment
  }
  unknown(): void {}
  failed(error: { readonly message: string }): void {
    throw new Error(error.message)
  }
}

class CountingSlices extends Counting {
  override dataSlice(chunk: Uint8Array, start: number, end: number): void {
    sink += chunk.subarray(start, end).length
  }
}

/** Nanoseconds for one call. */
function nsOf(run: () => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const begin = process.hrtime.bigint()
    let calls = 0
    let spent = 0
    while (spent < ROUND_MS * 1e6) {
      for (let batch = 0; batch < 50; batch++) run()
      calls += 50
      spent = Number(process.hrtime.bigint() - begin)
    }
    best = Math.min(best, spent / calls)
  }
  return best
}

function print(name: string, figure: string): void {
  process.stdout.write(`${name.padEnd(58)} ${figure}\n`)
}

/** Frames of one size, one after the other, cut as TLS cuts them. */
function chunksOf(frameBytes: number, count: number): Buffer[] {
  const all = Buffer.alloc((FRAME_HEAD_BYTES + frameBytes) * count)
  for (let at = 0; at < all.length; at += frameBytes)
    at = writeDataHead(all, at, 1, frameBytes, false)
  const chunks: Buffer[] = []
  for (let at = 0; at < all.length; at += CHUNK_BYTES)
    chunks.push(all.subarray(at, at + CHUNK_BYTES))
  return chunks
}

function readerOf(handler: FrameHandler): FrameReader {
  const reader = new FrameReader('server', LIMITS, handler)
  const first = Buffer.alloc(FRAME_HEAD_BYTES)
  writeSettings(first, 0, [])
  reader.push(first)
  return reader
}

function reading(frameBytes: number, count: number, handler: FrameHandler, name: string): void {
  const chunks = chunksOf(frameBytes, count)
  const reader = readerOf(handler)
  const ns = nsOf(() => {
    for (const chunk of chunks) reader.push(chunk)
  })
  const speed = (frameBytes * count) / ns
  print(
    `read DATA of ${frameBytes} B ${name}`,
    `${(ns / count).toFixed(0)} ns/frame, ${speed.toFixed(1)} GB/s`,
  )
}

const CONNECT: readonly HeaderField[] = [
  { name: ':method', value: 'CONNECT' },
  { name: ':authority', value: '10.244.1.23:8080' },
  {
    name: 'baggage',
    value:
      'k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=frontend,' +
      'service.name=frontend,service.version=v1,cloud.region=eu-1',
  },
  { name: 'forwarded', value: 'for="10.244.2.7:51234";host=backend.default.svc.cluster.local' },
  { name: 'traceparent', value: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00' },
]
const OK: readonly HeaderField[] = [{ name: ':status', value: '200' }]

function headerBlocks(huffman: boolean): void {
  const encoder = new HpackEncoder(new HeaderBlockCache({ maxBlocks: 16, huffman }))
  const decoder = new HpackDecoder({
    maxListBytes: 65_536,
    maxFields: 100,
    maxNameBytes: 1_024,
    maxValueBytes: 16_384,
  })
  const block = encoder.encode(CONNECT)
  const name = `CONNECT, 5 fields, ${block.length} B${huffman ? ', Huffman' : ''}`
  const ns = (run: () => number): string => `${nsOf(() => (sink += run())).toFixed(0)} ns`
  print(
    `encode ${name}`,
    ns(() => encoder.encode(CONNECT).length),
  )
  print(
    `encode again ${name}`,
    ns(() => encoder.encodeRepeated(CONNECT).length),
  )
  print(
    `decode ${name}`,
    ns(() => decoder.decode(block, 0, block.length).kind.length),
  )
  if (huffman) return
  const answer = encoder.encodeRepeated(OK)
  print(
    'encode again 200',
    ns(() => encoder.encodeRepeated(OK).length),
  )
  print(
    'decode 200',
    ns(() => decoder.decode(answer, 0, answer.length).kind.length),
  )
  const out = Buffer.alloc(headersBytes(block.length, 16_384))
  const options = { endStream: false, maxFrameSize: 16_384 }
  print(
    'write HEADERS',
    ns(() => writeHeaders(out, 0, 1, block, options)),
  )
}

for (const [bytes, count] of [
  [65_536, 16],
  [16_384, 64],
  [1_024, 1_024],
  [64, 1_024],
] as const) {
  reading(bytes, count, new Counting(), 'as offsets')
  reading(bytes, count, new CountingSlices(), 'as subarrays')
}
const slab = Buffer.alloc(FRAME_HEAD_BYTES)
print(
  'write a DATA head',
  `${nsOf(() => (sink += writeDataHead(slab, 0, 5, 16_384, false))).toFixed(1)} ns`,
)
headerBlocks(false)
headerBlocks(true)
process.stdout.write(sink === 0 ? 'nothing was read\n' : '')
