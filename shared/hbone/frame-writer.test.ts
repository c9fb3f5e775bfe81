import { expect, test } from 'vitest'
import { FRAME_HEAD_BYTES } from './frame.ts'
import {
  goawayBytes,
  headersBytes,
  PING_BYTES,
  RST_STREAM_BYTES,
  SETTINGS_ACK_BYTES,
  settingsBytes,
  WINDOW_UPDATE_BYTES,
  writeDataHead,
  writeGoaway,
  writeHeaders,
  writePing,
  writeRstStream,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from './frame-writer.ts'

const SETTINGS = [
  { id: 3, value: 200 },
  { id: 0x1234, value: 0xff_ff_ff_ff },
]
const BLOCK = Uint8Array.of(1, 2, 3, 4, 5)

const cases: readonly [string, number, (out: Uint8Array, at: number) => number, string][] = [
  [
    'DATA head (6.1)',
    FRAME_HEAD_BYTES,
    (out, at) => writeDataHead(out, at, 0x7f_ff_ff_ff, 0x01_02_03, false),
    '010203 00 00 7fffffff',
  ],
  [
    'DATA head with END_STREAM',
    FRAME_HEAD_BYTES,
    (out, at) => writeDataHead(out, at, 1, 0, true),
    '000000 00 01 00000001',
  ],
  [
    'HEADERS (6.2)',
    headersBytes(5, 16_384),
    (out, at) => writeHeaders(out, at, 3, BLOCK, { endStream: true, maxFrameSize: 16_384 }),
    '000005 01 05 00000003 0102030405',
  ],
  [
    'HEADERS of exactly the frame size',
    headersBytes(5, 5),
    (out, at) => writeHeaders(out, at, 3, BLOCK, { endStream: false, maxFrameSize: 5 }),
    '000005 01 04 00000003 0102030405',
  ],
  [
    'HEADERS and CONTINUATION (6.10), END_STREAM on the first only',
    headersBytes(5, 2),
    (out, at) => writeHeaders(out, at, 3, BLOCK, { endStream: true, maxFrameSize: 2 }),
    '000002 01 01 00000003 0102 000002 09 00 00000003 0304 000001 09 04 00000003 05',
  ],
  [
    'HEADERS with an empty block',
    headersBytes(0, 16_384),
    (out, at) =>
      writeHeaders(out, at, 3, new Uint8Array(0), { endStream: false, maxFrameSize: 16_384 }),
    '000000 01 04 00000003',
  ],
  [
    'RST_STREAM (6.4)',
    RST_STREAM_BYTES,
    (out, at) => writeRstStream(out, at, 5, 0xa),
    '000004 03 00 00000005 0000000a',
  ],
  [
    'SETTINGS (6.5)',
    settingsBytes(2),
    (out, at) => writeSettings(out, at, SETTINGS),
    '00000c 04 00 00000000 0003 000000c8 1234 ffffffff',
  ],
  ['SETTINGS ack (6.5)', SETTINGS_ACK_BYTES, writeSettingsAck, '000000 04 01 00000000'],
  [
    'PING (6.7)',
    PING_BYTES,
    (out, at) => writePing(out, at, 0x01_02_03_04, 0xff_fe_fd_fc, false),
    '000008 06 00 00000000 01020304 fffefdfc',
  ],
  [
    'PING ack (6.7)',
    PING_BYTES,
    (out, at) => writePing(out, at, 0, 1, true),
    '000008 06 01 00000000 00000000 00000001',
  ],
  [
    'GOAWAY (6.8), debug text in ASCII',
    goawayBytes('hé'),
    (out, at) => writeGoaway(out, at, 0x7f_ff_ff_ff, 0xb, 'hé'),
    '00000a 07 00 00000000 7fffffff 0000000b 683f',
  ],
  [
    'WINDOW_UPDATE (6.9)',
    WINDOW_UPDATE_BYTES,
    (out, at) => writeWindowUpdate(out, at, 0, 0x7f_ff_ff_ff),
    '000004 08 00 00000000 7fffffff',
  ],
]

test.each(cases)('%s is written in place and takes the room it says', (_name, room, write, hex) => {
  const out = Buffer.alloc(room + 10, 0xee)
  expect(write(out, 5)).toBe(5 + room)
  expect(out.subarray(5, -5).toString('hex')).toBe(hex.replaceAll(' ', ''))
  expect(out.subarray(0, 5).toString('hex') + out.subarray(-5).toString('hex')).toBe(
    'ee'.repeat(10),
  )
})
