import { describe, expect, test } from 'vitest'
import { CLIENT_PREFACE, FrameFlag, FrameType } from './frame.ts'
import type { FrameHandler } from './frame-handler.ts'
import { FrameReader } from './frame-reader.ts'
import {
  EventRecorder,
  eventsOf,
  type FrameEvent,
  frameBytes,
  LIMITS,
} from './testing-frame-events.ts'

const { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE } = FrameType
const { PING, GOAWAY, WINDOW_UPDATE, CONTINUATION } = FrameType
const { END_STREAM, ACK, END_HEADERS, PADDED } = FrameFlag
const PRIORITY_FLAG = FrameFlag.PRIORITY

const FIRST = frameBytes(SETTINGS, 0, 0)
const dead = (code: string): FrameEvent => ['failed', 'connection', 0, code]

interface Case {
  /** The section of RFC 9113, and the case of the h2spec suite where there is one. */
  readonly name: string
  readonly frames: readonly Buffer[]
  readonly sees: readonly FrameEvent[]
}

const AA16384 = 'aa'.repeat(16_384)

const legal: readonly Case[] = [
  {
    name: '4.1 (h2spec http2/4.1/1): a frame of unknown type is skipped',
    frames: [frameBytes(0x16, 0xff, 0, '0000000000000000'), frameBytes(0xff, 0, 7)],
    sees: [
      ['unknown', 0x16, 8],
      ['unknown', 0xff, 0],
    ],
  },
  {
    name: '4.1 (h2spec http2/4.1/2): undefined flags are ignored',
    frames: [frameBytes(PING, 0x16, 0, '0000000100000002')],
    sees: [['ping', 1, 2, false]],
  },
  {
    name: '4.1 (h2spec http2/4.1/3): the reserved bit is ignored',
    frames: [
      frameBytes(PING, ACK, 0x80_00_00_00, 'ffffffff80000000'),
      frameBytes(RST_STREAM, 0, 0x80_00_00_05, '00000008'),
    ],
    sees: [
      ['ping', 0xff_ff_ff_ff, 0x80_00_00_00, true],
      ['rst', 5, 8],
    ],
  },
  {
    name: '4.2 (h2spec http2/4.2/1): DATA of 2^14 octets',
    frames: [frameBytes(DATA, END_STREAM, 1, AA16384)],
    sees: [
      ['begin', 1, 16_384, 16_384, true],
      ['data', 1, AA16384, true],
    ],
  },
  {
    name: '5.5 (h2spec http2/5.5/1): unknown frames on a stream are skipped',
    frames: [frameBytes(0x20, 0, 1, '00'.repeat(500)), frameBytes(WINDOW_UPDATE, 0, 1, '00000001')],
    sees: [
      ['unknown', 0x20, 500],
      ['window', 1, 1],
    ],
  },
  {
    name: '6.1 (h2spec generic/3.1/1-3): DATA, padded DATA, empty DATA',
    frames: [
      frameBytes(DATA, 0, 3, '0102'),
      frameBytes(DATA, PADDED, 3, '02aabb0000'),
      frameBytes(DATA, PADDED | END_STREAM, 3, '00'),
      frameBytes(DATA, PADDED, 3, '020000'),
      frameBytes(DATA, END_STREAM, 3),
    ],
    sees: [
      ['begin', 3, 2, 2, false],
      ['data', 3, '0102', false],
      ['begin', 3, 5, 2, false],
      ['data', 3, 'aabb', false],
      ['begin', 3, 1, 0, true],
      ['data', 3, '', true],
      ['begin', 3, 3, 0, false],
      ['data', 3, '', false],
      ['begin', 3, 0, 0, true],
      ['data', 3, '', true],
    ],
  },
  {
    name: '6.2 (h2spec generic/3.2/1-3): HEADERS, padded, with priority, with both, empty',
    frames: [
      frameBytes(HEADERS, END_HEADERS, 1, '828684'),
      frameBytes(HEADERS, END_HEADERS | END_STREAM | PADDED, 3, '02828684ffff'),
      frameBytes(HEADERS, END_HEADERS | PRIORITY_FLAG, 5, '0000000110828684'),
      frameBytes(HEADERS, END_HEADERS | PRIORITY_FLAG | PADDED, 7, '01800000011082868400'),
      frameBytes(HEADERS, END_HEADERS, 9),
      frameBytes(HEADERS, END_HEADERS | PADDED, 11, '020000'),
    ],
    sees: [
      ['headers', 1, '828684', false],
      ['headers', 3, '828684', true],
      ['headers', 5, '828684', false],
      ['headers', 7, '828684', false],
      ['headers', 9, '', false],
      ['headers', 11, '', false],
    ],
  },
  {
    name: '5.3.2 (h2spec http2/5.3.1): priorities are ignored, a stream that depends on itself too',
    frames: [
      frameBytes(PRIORITY, 0, 5, '00000005ff'),
      frameBytes(HEADERS, END_HEADERS | PRIORITY_FLAG, 5, '0000000510828684'),
    ],
    sees: [
      ['priority', 5],
      ['headers', 5, '828684', false],
    ],
  },
  {
    name: '6.4 (h2spec generic/3.4/1): RST_STREAM, its code may be unknown (section 7)',
    frames: [frameBytes(RST_STREAM, 0, 1, 'ffffffff')],
    sees: [['rst', 1, 0xff_ff_ff_ff]],
  },
  {
    name: '6.5 (h2spec http2/6.5.2, 6.5.3): SETTINGS with known, unknown and repeated ids, and ACK',
    frames: [
      frameBytes(SETTINGS, 0, 0, '00047fffffff000500ffffff00ff1234567800040000ffff'),
      frameBytes(SETTINGS, ACK, 0),
    ],
    sees: [['settings', '4=2147483647 5=16777215 255=305419896 4=65535'], ['settings-ack']],
  },
  {
    name: '6.7 (h2spec http2/6.7/1-2): PING and its ACK',
    frames: [
      frameBytes(PING, 0, 0, '6832737065630000'),
      frameBytes(PING, ACK, 0, '6832737065630000'),
    ],
    sees: [
      ['ping', 0x68_32_73_70, 0x65_63_00_00, false],
      ['ping', 0x68_32_73_70, 0x65_63_00_00, true],
    ],
  },
  {
    name: '6.8 (h2spec generic/3.8/1): GOAWAY, with debug data, with very much of it',
    frames: [
      frameBytes(GOAWAY, 0, 0, '8000000500000002'),
      frameBytes(GOAWAY, 0, 0, `0000000500000002${Buffer.from('calm').toString('hex')}`),
      frameBytes(GOAWAY, 0, 0, `0000000500000002${'61'.repeat(9_000)}`),
      frameBytes(PING, 0, 0, '0000000000000000'),
    ],
    sees: [
      ['goaway', 5, 2, ''],
      ['goaway', 5, 2, 'calm'],
      ['goaway', 5, 2, 'a'.repeat(256)],
      ['ping', 0, 0, false],
    ],
  },
  {
    name: '6.9 (h2spec generic/3.9/1-2): WINDOW_UPDATE of connection and stream, the reserved bit ignored',
    frames: [
      frameBytes(WINDOW_UPDATE, 0, 0, 'ffffffff'),
      frameBytes(WINDOW_UPDATE, 0, 1, '80000001'),
    ],
    sees: [
      ['window', 0, 0x7f_ff_ff_ff],
      ['window', 1, 1],
    ],
  },
  {
    name: '6.10 (h2spec http2/6.10/1, generic/3.10): CONTINUATION frames, END_STREAM comes from HEADERS',
    frames: [
      frameBytes(HEADERS, END_STREAM, 1, '82'),
      frameBytes(CONTINUATION, 0, 1, '86'),
      frameBytes(CONTINUATION, 0, 1),
      frameBytes(CONTINUATION, END_HEADERS, 1, '84'),
      frameBytes(HEADERS, PADDED | PRIORITY_FLAG, 3, '01000000001082ff'),
      frameBytes(CONTINUATION, END_HEADERS | END_STREAM | PADDED, 3, '0186'),
    ],
    sees: [
      ['headers', 1, '828684', true],
      ['headers', 3, '820186', false],
    ],
  },
]

const onStreamZero: readonly Case[] = [
  ['6.1 (h2spec http2/6.1/1): DATA', frameBytes(DATA, 0, 0, '00')],
  ['6.2 (h2spec http2/6.2/3): HEADERS', frameBytes(HEADERS, END_HEADERS, 0, '82')],
  ['6.3 (h2spec http2/6.3/1): PRIORITY', frameBytes(PRIORITY, 0, 0, '0000000110')],
  ['6.4 (h2spec http2/6.4/1): RST_STREAM', frameBytes(RST_STREAM, 0, 0, '00000000')],
  ['6.10 (h2spec http2/6.10/3): CONTINUATION', frameBytes(CONTINUATION, END_HEADERS, 0, '82')],
].map(([name, frame]) => ({
  name: `${String(name)} on stream 0`,
  frames: [Buffer.from(frame ?? '')],
  sees: [dead('PROTOCOL_ERROR')],
}))

const connectionErrors: readonly Case[] = (
  [
    ['6.5 (h2spec http2/6.5/2): SETTINGS on a stream', 'PROTOCOL_ERROR', SETTINGS, 0, 1, ''],
    ['6.7 (h2spec http2/6.7/3): PING on a stream', 'PROTOCOL_ERROR', PING, 0, 1, '00'.repeat(8)],
    [
      '6.8 (h2spec http2/6.8/1): GOAWAY on a stream',
      'PROTOCOL_ERROR',
      GOAWAY,
      0,
      1,
      '00'.repeat(8),
    ],
    [
      '4.2 (h2spec http2/4.2/2): DATA beyond SETTINGS_MAX_FRAME_SIZE',
      'FRAME_SIZE_ERROR',
      DATA,
      0,
      1,
      `${AA16384}aa`,
    ],
    [
      '4.2 (h2spec http2/4.2/3): HEADERS beyond SETTINGS_MAX_FRAME_SIZE',
      'FRAME_SIZE_ERROR',
      HEADERS,
      END_HEADERS,
      1,
      `${AA16384}aa`,
    ],
    ['4.2: an unknown frame beyond it', 'FRAME_SIZE_ERROR', 0x40, 0, 1, `${AA16384}aa`],
    ['6.1: padded DATA without pad length', 'FRAME_SIZE_ERROR', DATA, PADDED, 1, ''],
    [
      '6.1 (h2spec http2/6.1/3): padding of the whole payload',
      'PROTOCOL_ERROR',
      DATA,
      PADDED,
      1,
      '0200',
    ],
    ['6.1: padding longer than the payload', 'PROTOCOL_ERROR', DATA, PADDED, 1, 'ff000000'],
    ['6.2: padded HEADERS without pad length', 'FRAME_SIZE_ERROR', HEADERS, PADDED, 1, ''],
    [
      '6.2: HEADERS too short for their priority',
      'FRAME_SIZE_ERROR',
      HEADERS,
      PRIORITY_FLAG | END_HEADERS,
      1,
      '00000000',
    ],
    [
      '6.2 (h2spec http2/6.2/4): HEADERS with too much padding',
      'PROTOCOL_ERROR',
      HEADERS,
      PADDED | END_HEADERS,
      1,
      '038286',
    ],
    ['6.2: the same, the block going on', 'PROTOCOL_ERROR', HEADERS, PADDED, 1, '038286'],
    [
      '6.4 (h2spec http2/6.4/3): RST_STREAM of 3 bytes',
      'FRAME_SIZE_ERROR',
      RST_STREAM,
      0,
      1,
      '000000',
    ],
    ['6.5 (h2spec http2/6.5/1): ACK with payload', 'FRAME_SIZE_ERROR', SETTINGS, ACK, 0, '00'],
    ['6.5 (h2spec http2/6.5/3): SETTINGS of 3 bytes', 'FRAME_SIZE_ERROR', SETTINGS, 0, 0, '000300'],
    [
      '6.5: a flood of settings in one frame',
      'ENHANCE_YOUR_CALM',
      SETTINGS,
      0,
      0,
      '00ff00000000'.repeat(65),
    ],
    [
      '6.5.2 (h2spec http2/6.5.2/1): ENABLE_PUSH of 2',
      'PROTOCOL_ERROR',
      SETTINGS,
      0,
      0,
      '000200000002',
    ],
    [
      '6.5.2 (h2spec http2/6.5.2/2): INITIAL_WINDOW_SIZE of 2^31',
      'FLOW_CONTROL_ERROR',
      SETTINGS,
      0,
      0,
      '000480000000',
    ],
    [
      '6.5.2 (h2spec http2/6.5.2/3): MAX_FRAME_SIZE of 2^14-1',
      'PROTOCOL_ERROR',
      SETTINGS,
      0,
      0,
      '000500003fff',
    ],
    [
      '6.5.2 (h2spec http2/6.5.2/4): MAX_FRAME_SIZE of 2^24',
      'PROTOCOL_ERROR',
      SETTINGS,
      0,
      0,
      '000501000000',
    ],
    ['RFC 8441 3: ENABLE_CONNECT_PROTOCOL of 2', 'PROTOCOL_ERROR', SETTINGS, 0, 0, '000800000002'],
    [
      '6.6, 8.4 (h2spec http2/8.2/1): PUSH_PROMISE',
      'PROTOCOL_ERROR',
      PUSH_PROMISE,
      4,
      1,
      '0000000282',
    ],
    ['6.7 (h2spec http2/6.7/4): PING of 6 bytes', 'FRAME_SIZE_ERROR', PING, 0, 0, '000000000000'],
    ['6.8: GOAWAY of 7 bytes', 'FRAME_SIZE_ERROR', GOAWAY, 0, 0, '00000000000000'],
    [
      '6.9 (h2spec http2/6.9/1): a window update of 0',
      'PROTOCOL_ERROR',
      WINDOW_UPDATE,
      0,
      0,
      '80000000',
    ],
    [
      '6.9 (h2spec http2/6.9/3): WINDOW_UPDATE of 3 bytes',
      'FRAME_SIZE_ERROR',
      WINDOW_UPDATE,
      0,
      1,
      '000001',
    ],
  ] as const
).map(([name, code, type, flags, stream, payload]) => ({
  name,
  frames: [frameBytes(type, flags, stream, payload)],
  sees: [dead(code)],
}))

const OPEN_BLOCK = frameBytes(HEADERS, 0, 1, '82')

const outOfOrder: readonly Case[] = (
  [
    ['4.3 (h2spec http2/4.3/2): PRIORITY inside a block', frameBytes(PRIORITY, 0, 1, '0000000010')],
    [
      '4.3 (h2spec http2/4.3/3): HEADERS of another stream',
      frameBytes(HEADERS, END_HEADERS, 3, '82'),
    ],
    ['5.5 (h2spec http2/5.5/2): an unknown frame inside a block', frameBytes(0x16, 0, 1, '00')],
    ['6.2 (h2spec http2/6.2/2): HEADERS of the same stream', frameBytes(HEADERS, 4, 1, '82')],
    ['6.10 (h2spec http2/6.10/2): DATA inside a block', frameBytes(DATA, 0, 1, '00')],
    ['6.10: CONTINUATION of another stream', frameBytes(CONTINUATION, END_HEADERS, 3, '82')],
  ] as const
).map(([name, frame]) => ({
  name,
  frames: [OPEN_BLOCK, frame, frameBytes(PING, 0, 0, '00'.repeat(8))],
  sees: [dead('PROTOCOL_ERROR')],
}))

const loneContinuations: readonly Case[] = [
  {
    name: '6.10 (h2spec http2/6.10/4): CONTINUATION after HEADERS with END_HEADERS',
    frames: [frameBytes(HEADERS, END_HEADERS, 1, '82'), frameBytes(CONTINUATION, 4, 1, '86')],
    sees: [['headers', 1, '82', false], dead('PROTOCOL_ERROR')],
  },
  {
    name: '6.10 (h2spec http2/6.10/5): CONTINUATION after CONTINUATION with END_HEADERS',
    frames: [
      OPEN_BLOCK,
      frameBytes(CONTINUATION, 4, 1, '86'),
      frameBytes(CONTINUATION, 4, 1, '84'),
    ],
    sees: [['headers', 1, '8286', false], dead('PROTOCOL_ERROR')],
  },
  {
    name: '6.10 (h2spec http2/6.10/6): CONTINUATION after DATA',
    frames: [frameBytes(DATA, 0, 1), frameBytes(CONTINUATION, 4, 1, '86')],
    sees: [['begin', 1, 0, 0, false], ['data', 1, '', false], dead('PROTOCOL_ERROR')],
  },
]

const streamErrors: readonly Case[] = [
  {
    name: '6.3 (h2spec http2/6.3/2): PRIORITY of 4 bytes, and of none',
    frames: [frameBytes(PRIORITY, 0, 1, '00000001'), frameBytes(PRIORITY, 0, 3)],
    sees: [
      ['failed', 'stream', 1, 'FRAME_SIZE_ERROR'],
      ['failed', 'stream', 3, 'FRAME_SIZE_ERROR'],
    ],
  },
  {
    name: '6.9 (h2spec http2/6.9/2): a window update of 0 on a stream',
    frames: [
      frameBytes(WINDOW_UPDATE, 0, 1, '00000000'),
      frameBytes(WINDOW_UPDATE, 0, 1, '00000007'),
    ],
    sees: [
      ['failed', 'stream', 1, 'PROTOCOL_ERROR'],
      ['window', 1, 7],
    ],
  },
]

describe('RFC 9113, frame by frame', () => {
  test.each([
    ...legal,
    ...onStreamZero,
    ...connectionErrors,
    ...outOfOrder,
    ...loneContinuations,
    ...streamErrors,
  ])('$name', ({ frames, sees }) => {
    const bytes = Buffer.concat([FIRST, ...frames])
    const expected = [['settings', ''], ...sees]
    expect(eventsOf(bytes).events).toEqual(expected)
    const byteByByte = eventsOf(
      bytes,
      Array.from({ length: bytes.length }, () => 1),
    )
    expect(byteByByte.events).toEqual(expected)
  })

  test('an error names the frame, the stream and what is wrong', () => {
    const { errors } = eventsOf(Buffer.concat([FIRST, frameBytes(RST_STREAM, 0, 7, '00')]))
    expect(errors[0]?.message).toBe('RST_STREAM on stream 7 cannot have 1 bytes')
  })
})

describe('the connection preface (section 3.4)', () => {
  const preface = Buffer.from(CLIENT_PREFACE)

  test('h2spec http2/3.5/1: a client begins with the preface and SETTINGS', () => {
    const bytes = Buffer.concat([preface, FIRST])
    expect(eventsOf(bytes, [], 'client').events).toEqual([['settings', '']])
    expect(eventsOf(bytes, [5, 19, 3], 'client').events).toEqual([['settings', '']])
  })

  test.each([
    ['h2spec http2/3.5/2: another preface', Buffer.from('INVALID CONNECTION PREFACE\r\n\r\n')],
    ['one byte of it wrong', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r')],
    ['SETTINGS without it', Buffer.concat([FIRST, FIRST, FIRST])],
  ])('%s ends the connection', (_name, bytes) => {
    expect(eventsOf(bytes, [], 'client').events).toEqual([dead('PROTOCOL_ERROR')])
  })

  test.each([
    ['PING', frameBytes(PING, 0, 0, '00'.repeat(8))],
    ['an acknowledgement', frameBytes(SETTINGS, ACK, 0)],
    ['an unknown frame', frameBytes(0x20, 0, 0)],
    ['DATA', frameBytes(DATA, 0, 1, '00')],
  ])('%s in place of the first SETTINGS ends the connection', (_name, bytes) => {
    expect(eventsOf(bytes).events).toEqual([dead('PROTOCOL_ERROR')])
  })
})

describe('bounds', () => {
  test('a header block may be as long as the limit, however padded, and no longer', () => {
    const block = (last: number): Buffer =>
      Buffer.concat([
        FIRST,
        frameBytes(
          HEADERS,
          PADDED | PRIORITY_FLAG,
          1,
          `ff0000000010${'82'.repeat(16_000)}${'00'.repeat(255)}`,
        ),
        frameBytes(CONTINUATION, END_HEADERS, 1, '82'.repeat(last)),
      ])
    expect(eventsOf(block(4_000)).events[1]).toEqual(['headers', 1, '82'.repeat(20_000), false])
    expect(eventsOf(block(4_001)).events[1]).toEqual(dead('ENHANCE_YOUR_CALM'))
  })

  test('a block in more fragments than allowed ends the connection, even of empty ones', () => {
    const block = (count: number): Buffer[] => [
      OPEN_BLOCK,
      ...Array.from({ length: count }, () => frameBytes(CONTINUATION, 0, 1)),
      frameBytes(CONTINUATION, END_HEADERS, 1),
    ]
    expect(eventsOf(Buffer.concat([FIRST, ...block(6), ...block(6)])).events.slice(1)).toEqual([
      ['headers', 1, '82', false],
      ['headers', 1, '82', false],
    ])
    expect(eventsOf(Buffer.concat([FIRST, ...block(7)])).events[1]).toEqual(
      dead('ENHANCE_YOUR_CALM'),
    )
  })

  test('a header block that has begun and not ended shows', () => {
    const reader = new FrameReader('server', LIMITS, new EventRecorder())
    const seen = [FIRST, OPEN_BLOCK, frameBytes(CONTINUATION, END_HEADERS, 1, '8286')].flatMap(
      (frame) => {
        reader.push(frame.subarray(0, 10))
        const inside = reader.inHeaderBlock
        reader.push(frame.subarray(10))
        return [inside, reader.inHeaderBlock]
      },
    )
    expect(seen).toEqual([false, false, true, true, true, false])
  })
})

describe('stopping', () => {
  const kinds: readonly (keyof FrameHandler)[] = [
    'dataBegin',
    'dataSlice',
    'dataEnd',
    'headers',
    'settings',
    'ping',
    'unknown',
    'windowUpdate',
  ]

  test.each(kinds)('in the middle of a chunk, from %s, nothing more is told', (kind) => {
    const told = new Set<keyof FrameHandler>()
    const spy = new Proxy<FrameHandler>(new EventRecorder(), {
      get(_target, name: keyof FrameHandler) {
        return () => {
          if (told.has(kind)) throw new Error(`${name} after the stop`)
          told.add(name)
          if (name === kind) stopped.stop()
        }
      },
    })
    const stopped = new FrameReader('server', LIMITS, spy)
    const all = Buffer.concat([
      FIRST,
      frameBytes(PING, 0, 0, '00'.repeat(8)),
      frameBytes(WINDOW_UPDATE, 0, 0, '00000001'),
      frameBytes(0x20, 0, 0, '00'),
      frameBytes(HEADERS, END_HEADERS, 1, '82'),
      frameBytes(DATA, PADDED, 1, '01aa00'),
      frameBytes(PING, 0, 0, '00'.repeat(8)),
    ])
    stopped.push(all)
    stopped.push(all)
    expect([...told]).toContain(kind)
    expect(stopped.stopped).toBe(true)
  })
})

test('DATA is handed on as it lies in the chunk, not copied and not gathered', () => {
  const seen: [Uint8Array, number, number][] = []
  const handler = Object.assign(new EventRecorder(), {
    dataSlice: (chunk: Uint8Array, start: number, end: number) => seen.push([chunk, start, end]),
    dataEnd: () => undefined,
  })
  const reader = new FrameReader('server', LIMITS, handler)
  reader.push(FIRST)
  const frame = frameBytes(DATA, 0, 1, '00'.repeat(100))
  const [one, two] = [frame.subarray(0, 29), frame.subarray(29)]
  reader.push(one)
  reader.push(two)
  expect(seen).toEqual([
    [one, 9, 29],
    [two, 0, 80],
  ])
  expect(seen[0]?.[0]).toBe(one)
  expect(seen[1]?.[0]).toBe(two)
})
