import { once } from 'node:events'
import http2, { type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2'
import { createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type H2Error, SettingId } from '../../shared/hbone/frame.ts'
import { FrameReader } from '../../shared/hbone/frame-reader.ts'
import {
  headersBytes,
  settingsBytes,
  writeHeaders,
  writeSettings,
  writeSettingsAck,
} from '../../shared/hbone/frame-writer.ts'
import { HpackDecoder } from '../../shared/hbone/hpack-decoder.ts'
import { HeaderBlockCache, HpackEncoder } from '../../shared/hbone/hpack-encoder.ts'
import { decodeHuffman, huffmanDecodedBound } from '../../shared/hbone/hpack-huffman.ts'
import { type HeaderField, STATIC_FIELDS } from '../../shared/hbone/hpack-static.ts'
import { EventRecorder, LIMITS } from '../../shared/hbone/testing-frame-events.ts'

const ROOMY = { maxListBytes: 1e6, maxFields: 1e4, maxNameBytes: 1e5, maxValueBytes: 1e5 }

const octets = (maxLength: number): fc.Arbitrary<string> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'))

const field: fc.Arbitrary<HeaderField> = fc.oneof(
  fc.record({ name: octets(30), value: octets(300) }),
  fc.record({ name: octets(10), value: octets(10), secret: fc.constant(true as const) }),
  fc.constantFrom(...STATIC_FIELDS.filter(({ name }) => !/cookie|authorization/.test(name))),
)

test('any list of fields comes back as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.array(field, { maxLength: 20 })), fc.boolean(), (lists, huffman) => {
      const encoder = new HpackEncoder(new HeaderBlockCache({ maxBlocks: 3, huffman }))
      const decoder = new HpackDecoder(ROOMY)
      for (const fields of lists) {
        for (const block of [encoder.encode(fields), encoder.encodeRepeated(fields)]) {
          expect(decoder.decode(block, 0, block.length)).toEqual({ kind: 'fields', fields })
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('byte soup gives fields or a compression error, and the table stays within its size', () => {
  const block = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.array(
      fc.constantFrom(0x82, 0xbe, 0xbf, 0x40, 0x01, 0x61, 0x81, 0x1f, 0x20, 0x3f, 0x00, 0xff),
    ),
  )
  const limits = { maxListBytes: 300, maxFields: 6, maxNameBytes: 20, maxValueBytes: 40 }
  fc.assert(
    fc.property(fc.array(block, { maxLength: 10 }), (blocks) => {
      const decoder = new HpackDecoder(limits)
      for (const bytes of blocks) {
        const decoded = decoder.decode(Uint8Array.from(bytes), 0, bytes.length)
        expect(decoder.tableSize).toBeLessThanOrEqual(4_096)
        if (decoded.kind === 'malformed') {
          expect(decoded.error).toMatchObject({ scope: 'connection', code: 9 })
          return
        }
        if (decoded.kind === 'fields') expect(decoded.fields.length).toBeLessThanOrEqual(6)
      }
    }),
    { numRuns: 3_000 },
  )
})

test('the Huffman decoder stays within the bound it names', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const out = Buffer.alloc(huffmanDecodedBound(bytes.length) + 16, 0xee)
      const length = decodeHuffman(bytes, 0, bytes.length, out)
      expect(length).toBeLessThanOrEqual(huffmanDecodedBound(bytes.length))
      expect(out.subarray(-16).every((octet) => octet === 0xee)).toBe(true)
    }),
    { numRuns: 2_000 },
  )
})

interface Settings {
  /** What the node:http2 client says of its table for our blocks. */
  readonly ofNode: number
  /** What we say of ours for its blocks. */
  readonly ofUs: number
  readonly huffman: boolean
}

/** A server of our parts: shows what it decoded, answers with what it is told. */
class AnsweringServer extends EventRecorder {
  readonly seen: (readonly HeaderField[])[] = []
  readonly problems: H2Error[] = []
  answer: readonly HeaderField[] = []
  readonly #socket: Socket
  readonly #decoder = new HpackDecoder(ROOMY)
  readonly #encoder: HpackEncoder
  readonly #tableSize: number

  constructor(socket: Socket, { ofUs, huffman }: Settings) {
    super()
    this.#socket = socket
    this.#tableSize = ofUs
    this.#encoder = new HpackEncoder(new HeaderBlockCache({ maxBlocks: 3, huffman }))
    const settings = [{ id: SettingId.HEADER_TABLE_SIZE, value: ofUs }]
    const hello = Buffer.alloc(settingsBytes(1))
    writeSettings(hello, 0, settings)
    socket.write(hello)
  }

  override settings(settings: readonly { id: number; value: number }[]): void {
    for (const { id, value } of settings) {
      if (id === SettingId.HEADER_TABLE_SIZE) this.#encoder.setPeerTableSize(value)
    }
    const ack = Buffer.alloc(9)
    writeSettingsAck(ack, 0)
    this.#socket.write(ack)
  }

  override settingsAck(): void {
    this.#decoder.setAllowedTableSize(this.#tableSize)
  }

  override headers(streamId: number, block: Uint8Array, start: number, end: number): void {
    const decoded = this.#decoder.decode(block, start, end)
    if (decoded.kind === 'fields') this.seen.push(decoded.fields)
    if (decoded.kind === 'malformed') this.problems.push(decoded.error)
    const answer = this.#encoder.encodeRepeated([{ name: ':status', value: '200' }, ...this.answer])
    const out = Buffer.alloc(headersBytes(answer.length, 16_384))
    writeHeaders(out, 0, streamId, answer, { endStream: true, maxFrameSize: 16_384 })
    this.#socket.write(out)
  }

  override failed(error: H2Error): void {
    this.problems.push(error)
  }
}

/** A real node:http2 client on a session with our parts. */
async function session(settings: Settings): Promise<{
  client: ClientHttp2Session
  server: AnsweringServer
  [Symbol.dispose](): void
}> {
  const listener = createServer({ noDelay: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const accepted = once(listener, 'connection') as Promise<[Socket]>
  const client = http2.connect(`http://127.0.0.1:${address.port}`, {
    settings: { headerTableSize: settings.ofNode, maxHeaderListSize: 60_000 },
  })
  const [socket] = await accepted
  socket.on('error', () => undefined)
  const server = new AnsweringServer(socket, settings)
  const reader = new FrameReader('client', LIMITS, server)
  socket.on('data', (chunk: Buffer) => reader.push(chunk))
  await once(client, 'remoteSettings')
  const dispose = (): void => {
    client.destroy()
    socket.destroy()
    listener.close()
  }
  return { client, server, [Symbol.dispose]: dispose }
}

const nodeName = fc
  .stringMatching(/^[a-z0-9-]{1,20}$/)
  .map((name) => `x-${name}`)
  .filter((name) => name !== 'x-')
/** What node:http2 lets through; blanks at the ends are trimmed somewhere on the way. */
const nodeValue = fc
  .array(fc.oneof(fc.integer({ min: 0x21, max: 0x7e }), fc.integer({ min: 0xa1, max: 0xff })), {
    minLength: 1,
    maxLength: 200,
  })
  .map((units) => String.fromCharCode(...units))
const nodeFields = fc.dictionary(
  fc.oneof(nodeName, fc.constantFrom('x-a', 'x-b', 'user-agent', 'baggage')),
  fc.oneof(nodeValue, fc.constantFrom('a', 'b', 'gzip', '')),
  { maxKeys: 12 },
)

const asFields = (headers: Record<string, string>): HeaderField[] =>
  Object.entries(headers).map(([name, value]) => ({ name, value }))

const sorted = (fields: readonly HeaderField[]): string[] =>
  fields.map(({ name, value }) => `${name}: ${value}`).sort()

describe.each<Settings>([
  { ofNode: 4_096, ofUs: 4_096, huffman: false },
  { ofNode: 4_096, ofUs: 0, huffman: true },
  { ofNode: 0, ofUs: 200, huffman: true },
  { ofNode: 100, ofUs: 65_536, huffman: false },
])('against node:http2, tables of $ofNode and $ofUs bytes', (settings) => {
  test('many lists on one session: both see what the other said', async () => {
    using pair = await session(settings)
    const { client, server } = pair
    await fc.assert(
      fc.asyncProperty(nodeFields, nodeFields, async (asked, answered) => {
        server.answer = asFields(answered)
        const request = client.request({ ':path': '/p', ...asked })
        const [response] = (await once(request, 'response')) as [IncomingHttpHeaders]
        request.resume()
        const own = { ...response }
        delete own[':status']
        expect(sorted(asFields(own as Record<string, string>))).toEqual(sorted(server.answer))
        const seen = server.seen.at(-1)?.filter(({ name }) => !name.startsWith(':')) ?? []
        expect(sorted(seen)).toEqual(sorted(asFields(asked)))
        expect(server.problems).toEqual([])
      }),
      { numRuns: 150 },
    )
  })
})

test('a header that node:http2 calls sensitive arrives as a secret', async () => {
  using pair = await session({ ofNode: 4_096, ofUs: 4_096, huffman: false })
  const { client, server } = pair
  const request = client.request({
    ':path': '/',
    'x-key': 'k',
    [http2.sensitiveHeaders]: ['x-key'],
  })
  await once(request, 'response')
  request.resume()
  expect(server.seen[0]).toContainEqual({ name: 'x-key', value: 'k', secret: true })
})
