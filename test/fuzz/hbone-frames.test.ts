import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CLIENT_PREFACE } from '../../shared/hbone/frame.ts'
import { headersBytes, writeDataHead, writeHeaders } from '../../shared/hbone/frame-writer.ts'
import { eventsOf, frameBytes } from '../../shared/hbone/testing-frame-events.ts'

const hex = (maxLength: number): fc.Arbitrary<string> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('hex'))

const stream = fc.oneof(fc.constantFrom(0, 1, 3, 5), fc.integer({ min: 0, max: 0x7f_ff_ff_ff }))

const anyFrame = fc
  .tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 255 }), stream, hex(60))
  .map(([type, flags, id, payload]) => frameBytes(type, flags, id, payload))

/** Frames that keep the rules, so that a sequence of them is read to its end. */
const goodFrame = fc.oneof(
  fc
    .tuple(fc.boolean(), fc.integer({ min: 1, max: 9 }), hex(3_000))
    .map(([end, id, payload]) => frameBytes(0, end ? 1 : 0, id, payload)),
  fc
    .tuple(fc.integer({ min: 0, max: 255 }), hex(300))
    .map(([pad, payload]) =>
      frameBytes(0, 8, 1, Buffer.of(pad).toString('hex') + payload + '00'.repeat(pad)),
    ),
  fc
    .tuple(hex(200), fc.integer({ min: 0, max: 20 }), fc.array(hex(50), { maxLength: 5 }))
    .map(([block, pad, rest]) => {
      const body = `${Buffer.of(pad).toString('hex')}0000000010${block}${'00'.repeat(pad)}`
      const head = frameBytes(1, 0x28 | (rest.length === 0 ? 4 : 0), 7, body)
      const tail = rest.map((part, at) => frameBytes(9, at === rest.length - 1 ? 4 : 0, 7, part))
      return Buffer.concat([head, ...tail])
    }),
  hex(100).map((block) => frameBytes(1, 5, 9, block)),
  fc
    .uint8Array({ minLength: 8, maxLength: 8 })
    .map((bytes) => frameBytes(6, 0, 0, Buffer.from(bytes).toString('hex'))),
  hex(500).map((debug) => frameBytes(7, 0, 0, `0000000500000002${debug}`)),
  fc.constant(frameBytes(8, 0, 3, '00000010')),
  fc.constant(frameBytes(3, 0, 3, '00000008')),
  fc.constant(frameBytes(4, 0, 0, '000300000064000400100000')),
  fc.constant(frameBytes(4, 1, 0)),
  hex(400).map((payload) => frameBytes(0x33, 0xff, 5, payload)),
)

const sizes = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 500 })),
  {
    maxLength: 400,
  },
)

const bytes = fc.oneof(
  { weight: 4, arbitrary: fc.array(goodFrame, { maxLength: 20 }) },
  { weight: 2, arbitrary: fc.array(anyFrame, { maxLength: 20 }) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 600 }).map((soup) => [Buffer.from(soup)]) },
)

test('however the bytes are cut, a reader sees the same', () => {
  fc.assert(
    fc.property(bytes, sizes, (frames, sizes) => {
      const all = Buffer.concat([Buffer.from(CLIENT_PREFACE), frameBytes(4, 0, 0), ...frames])
      const whole = eventsOf(all, [], 'client')
      const cut = eventsOf(all, sizes, 'client')
      expect(cut.events).toEqual(whole.events)
      expect(cut.errors).toEqual(whole.errors)
    }),
    { numRuns: 1_500 },
  )
})

test('frames that keep the rules give no error, each is told', () => {
  fc.assert(
    fc.property(fc.array(goodFrame, { maxLength: 20 }), sizes, (frames, sizes) => {
      const { events, errors } = eventsOf(Buffer.concat([frameBytes(4, 0, 0), ...frames]), sizes)
      expect(errors).toEqual([])
      expect(events.filter(([kind]) => kind !== 'begin')).toHaveLength(frames.length + 1)
    }),
    { numRuns: 500 },
  )
})

test('byte soup ends in one connection error and in silence after it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(anyFrame, fc.uint8Array()), { maxLength: 30 }),
      sizes,
      (parts, sizes) => {
        const soup = Buffer.concat([frameBytes(4, 0, 0), ...parts])
        const { events, errors } = eventsOf(soup, sizes)
        const fatal = errors.filter(({ scope }) => scope === 'connection')
        expect(fatal.length).toBeLessThanOrEqual(1)
        if (fatal.length === 1) expect(events.at(-1)?.slice(0, 2)).toEqual(['failed', 'connection'])
        for (const { message } of errors) expect(message).not.toBe('')
      },
    ),
    { numRuns: 1_500 },
  )
})

test('what the writer writes is what the reader reads', () => {
  const message = fc.record({
    id: fc.integer({ min: 1, max: 0x7f_ff_ff_ff }),
    block: fc.uint8Array({ maxLength: 300 }),
    maxFrameSize: fc.integer({ min: 45, max: 400 }),
    endStream: fc.boolean(),
    data: fc.uint8Array({ maxLength: 300 }),
  })
  fc.assert(
    fc.property(message, sizes, ({ id, block, maxFrameSize, endStream, data }, sizes) => {
      const out = Buffer.alloc(9 + headersBytes(block.length, maxFrameSize) + 9 + data.length)
      let at = frameBytes(4, 0, 0).copy(out)
      at = writeHeaders(out, at, id, block, { endStream, maxFrameSize })
      at = writeDataHead(out, at, id, data.length, endStream)
      out.set(data, at)
      expect(at + data.length).toBe(out.length)
      expect(eventsOf(out, sizes).events).toEqual([
        ['settings', ''],
        ['headers', id, Buffer.from(block).toString('hex'), endStream],
        ['begin', id, data.length, data.length, endStream],
        ['data', id, Buffer.from(data).toString('hex'), endStream],
      ])
    }),
    { numRuns: 500 },
  )
})
