import { describe, expect, test } from 'vitest'
import { type DecodedBlock, type HeaderLimits, HpackDecoder } from './hpack-decoder.ts'
import type { HeaderField } from './hpack-static.ts'

const ROOMY: HeaderLimits = {
  maxListBytes: 65_536,
  maxFields: 1_000,
  maxNameBytes: 4_096,
  maxValueBytes: 65_536,
}

function decode(decoder: HpackDecoder, hex: string): DecodedBlock {
  const block = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  // Not at the beginning of its buffer, so that offsets count, and followed by what must not be read.
  const around = Buffer.concat([Buffer.of(0xff, 0xff), block, Buffer.of(0xff, 0xff)])
  return decoder.decode(around, 2, 2 + block.length)
}

function linesOf(decoded: DecodedBlock): string[] {
  if (decoded.kind !== 'fields') throw new Error(JSON.stringify(decoded))
  return decoded.fields.map(({ name, value }) => `${name}: ${value}`)
}

interface Step {
  readonly hex: string
  readonly lines: readonly string[]
  /** The size of the dynamic table afterwards. */
  readonly tableSize: number
}

const FIRST_REQUEST = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com']
const THIRD_REQUEST = [
  ':method: GET',
  ':scheme: https',
  ':path: /index.html',
  ':authority: www.example.com',
  'custom-key: custom-value',
]
const DATE = 'date: Mon, 21 Oct 2013 20:13:21 GMT'
const LOCATION = 'location: https://www.example.com'
const FIRST_RESPONSE = [':status: 302', 'cache-control: private', DATE, LOCATION]
const SECOND_RESPONSE = [':status: 307', 'cache-control: private', DATE, LOCATION]
const THIRD_RESPONSE = [
  ':status: 200',
  'cache-control: private',
  'date: Mon, 21 Oct 2013 20:13:22 GMT',
  LOCATION,
  'content-encoding: gzip',
  'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
]

const sequences: readonly [string, number, readonly Step[]][] = [
  [
    'C.2.1 literal with indexing',
    4_096,
    [
      {
        hex: '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
        lines: ['custom-key: custom-header'],
        tableSize: 55,
      },
    ],
  ],
  [
    'C.2.2 literal without indexing',
    4_096,
    [{ hex: '040c 2f73 616d 706c 652f 7061 7468', lines: [':path: /sample/path'], tableSize: 0 }],
  ],
  [
    'C.2.3 literal never indexed',
    4_096,
    [
      {
        hex: '1008 7061 7373 776f 7264 0673 6563 7265 74',
        lines: ['password: secret'],
        tableSize: 0,
      },
    ],
  ],
  ['C.2.4 indexed', 4_096, [{ hex: '82', lines: [':method: GET'], tableSize: 0 }]],
  [
    'C.3 requests without Huffman coding',
    4_096,
    [
      {
        hex: '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        lines: FIRST_REQUEST,
        tableSize: 57,
      },
      {
        hex: '8286 84be 5808 6e6f 2d63 6163 6865',
        lines: [...FIRST_REQUEST, 'cache-control: no-cache'],
        tableSize: 110,
      },
      {
        hex: '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
        lines: THIRD_REQUEST,
        tableSize: 164,
      },
    ],
  ],
  [
    'C.4 requests with Huffman coding',
    4_096,
    [
      { hex: '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', lines: FIRST_REQUEST, tableSize: 57 },
      {
        hex: '8286 84be 5886 a8eb 1064 9cbf',
        lines: [...FIRST_REQUEST, 'cache-control: no-cache'],
        tableSize: 110,
      },
      {
        hex: '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
        lines: THIRD_REQUEST,
        tableSize: 164,
      },
    ],
  ],
  [
    'C.5 responses without Huffman coding, with evictions',
    256,
    [
      {
        hex:
          '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 ' +
          '2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 ' +
          '6c65 2e63 6f6d',
        lines: FIRST_RESPONSE,
        tableSize: 222,
      },
      { hex: '4803 3330 37c1 c0bf', lines: SECOND_RESPONSE, tableSize: 222 },
      {
        hex:
          '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d ' +
          '54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 ' +
          '5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
        lines: THIRD_RESPONSE,
        tableSize: 215,
      },
    ],
  ],
  [
    'C.6 responses with Huffman coding, with evictions',
    256,
    [
      {
        hex:
          '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 ' +
          '2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
        lines: FIRST_RESPONSE,
        tableSize: 222,
      },
      { hex: '4883 640e ffc1 c0bf', lines: SECOND_RESPONSE, tableSize: 222 },
      {
        hex:
          '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab ' +
          '77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f ' +
          '9587 3160 65c0 03ed 4ee5 b106 3d50 07',
        lines: THIRD_RESPONSE,
        tableSize: 215,
      },
    ],
  ],
]

describe('RFC 7541 appendix C', () => {
  test.each(sequences)('%s', (_name, tableBytes, steps) => {
    const decoder = new HpackDecoder(ROOMY)
    if (tableBytes < 4_096) decode(decoder, tableBytes === 256 ? '3fe101' : '')
    for (const { hex, lines, tableSize } of steps) {
      expect(linesOf(decode(decoder, hex))).toEqual(lines)
      expect(decoder.tableSize).toBe(tableSize)
    }
  })

  test('C.2.3: a field never to be indexed is marked as a secret', () => {
    const decoded = decode(new HpackDecoder(ROOMY), '1008 7061 7373 776f 7264 0673 6563 7265 74')
    expect(decoded).toEqual({
      kind: 'fields',
      fields: [{ name: 'password', value: 'secret', secret: true }],
    })
  })

  test('C.1: integers in one octet, in several, on an octet boundary', () => {
    const decoder = new HpackDecoder(ROOMY)
    const long = `0001 61 7f 9a0a ${'62'.repeat(1_433)}`
    expect(linesOf(decode(decoder, long))).toEqual([`a: ${'b'.repeat(1_433)}`])
    // 31 + 26 + 1280: the 1337 of C.1.2, as a table size.
    expect(linesOf(decode(decoder, '3f 9a0a'))).toEqual([])
    expect(linesOf(decode(decoder, '0001 61 7f 00 ' + '62'.repeat(127)))).toHaveLength(1)
  })
})

const malformed: readonly [string, string, string][] = [
  ['6.1 (h2spec hpack/6.1/1): index 0', '80', 'index 0'],
  ['2.3.3 (h2spec hpack/2.3.3/1): an index beyond the tables', 'be', 'index 62'],
  ['2.3.3 (h2spec hpack/2.3.3/2): a name index beyond the tables', '7e 0161', 'index 62'],
  ['2.3.3: the same without indexing', '0f2f 0161', 'index 62'],
  ['4.2 (h2spec hpack/4.2/1): a size update after a field', '82 20', 'after a field'],
  ['6.3 (h2spec hpack/6.3/1): a size above the setting', '3fe21f', '4097'],
  [
    '5.2 (h2spec hpack/5.2/1): padding of more than 7 bits',
    '0085 f2b2 4a84 ff84 4950 9fff',
    'Huffman',
  ],
  ['5.2 (h2spec hpack/5.2/2): padding with zeros', '0085 f2b2 4a84 ff83 4950 90', 'Huffman'],
  [
    '5.2 (h2spec hpack/5.2/3): the end-of-string symbol',
    '0085 f2b2 4a84 ff87 4951 ffff fffa 7f',
    'Huffman',
  ],
  ['5.2: the end of string in the middle', '0085 ffff fffc 1f 0161', 'Huffman'],
  ['5.1: an integer of too many octets', 'ff 8080 8080 8080 00', 'too long'],
  ['5.1: an integer beyond 31 bits', 'ff ffff ffff 0f', 'too large'],
  ['5.1: an integer cut off', 'ff 80', 'cut off'],
  ['6.2 (h2spec http2/4.3/1): a literal without its strings', '40', 'missing'],
  ['6.2: a literal without its value', '4001 61', 'missing'],
  ['5.2: a name longer than the block', '0005 6162', 'cut off'],
  ['5.2: a padding of exactly 8 bits', '0001 61 82 f8ff', 'Huffman'],
  ['5.2: a value one octet longer than the block', '0001 61 03 6162', 'cut off'],
  ['5.2: a value longer than the block', '0001 61 7f80 0162', 'cut off'],
]

describe('what loses the compression state ends the connection (RFC 7541)', () => {
  test.each(malformed)('%s', (_name, hex, problem) => {
    const decoded = decode(new HpackDecoder(ROOMY), hex)
    expect(decoded).toMatchObject({
      kind: 'malformed',
      error: { scope: 'connection', code: 0x9, message: expect.stringContaining(problem) },
    })
  })
})

describe('size of the dynamic table', () => {
  const ADD_A = '4001 61 01 62'

  test('4.2: several updates before the first field, the last one counts', () => {
    const decoder = new HpackDecoder(ROOMY)
    decode(decoder, ADD_A)
    expect(linesOf(decode(decoder, `20 3fe11f ${ADD_A} be`))).toEqual(['a: b', 'a: b'])
    expect(decode(decoder, 'bf').kind).toBe('malformed')
  })

  test('4.4: a field larger than the table empties it and is no error', () => {
    const decoder = new HpackDecoder(ROOMY)
    decode(decoder, ADD_A)
    const value = 'c'.repeat(4_096)
    const hex = `4001 61 7f81 1f ${Buffer.from(value).toString('hex')}`
    expect(linesOf(decode(decoder, hex))).toEqual([`a: ${value}`])
    expect(decoder.tableSize).toBe(0)
  })

  test('RFC 9113 4.3.1: after an acknowledged reduction the next block begins with an update', () => {
    const reduced = (): HpackDecoder => {
      const decoder = new HpackDecoder(ROOMY)
      decode(decoder, ADD_A)
      decoder.setAllowedTableSize(100)
      return decoder
    }
    expect(decode(reduced(), '82').kind).toBe('malformed')
    expect(decode(reduced(), '').kind).toBe('malformed')
    expect(decode(reduced(), '3f46 82').kind).toBe('malformed')
    const decoder = reduced()
    expect(linesOf(decode(decoder, '3f45 be'))).toEqual(['a: b'])
    expect(linesOf(decode(decoder, 'be'))).toEqual(['a: b'])
  })

  test('a larger setting demands nothing and allows more', () => {
    const decoder = new HpackDecoder(ROOMY)
    decoder.setAllowedTableSize(8_192)
    expect(linesOf(decode(decoder, '82'))).toEqual([':method: GET'])
    expect(linesOf(decode(decoder, '3fe13f 82'))).toEqual([':method: GET'])
  })

  test('4.3: entries that fill the table exactly all stay', () => {
    const decoder = new HpackDecoder(ROOMY)
    expect(linesOf(decode(decoder, `3f25 ${ADD_A.repeat(2)}`))).toHaveLength(2)
    expect(decoder.tableSize).toBe(68)
    expect(linesOf(decode(decoder, 'bebf'))).toEqual(['a: b', 'a: b'])
  })

  test('2.3.3: the index after the oldest entry is in no table, however many entries there are', () => {
    const decoder = new HpackDecoder(ROOMY)
    for (let entries = 1; entries <= 20; entries++) {
      decode(decoder, ADD_A)
      const octet = (index: number): string => (0x80 | (61 + index)).toString(16)
      expect(linesOf(decode(decoder, octet(entries)))).toEqual(['a: b'])
      const copy = new HpackDecoder(ROOMY)
      decode(copy, ADD_A.repeat(entries))
      expect(decode(copy, octet(entries + 1)).kind).toBe('malformed')
    }
  })

  test('entries stay in order while the table grows, wraps and evicts', () => {
    const decoder = new HpackDecoder(ROOMY)
    const hexOf = (n: number): string => Buffer.from(String(n).padStart(4, '0')).toString('hex')
    // 37 bytes an entry: 110 fit into 4096.
    for (let n = 0; n < 300; n++) decode(decoder, `4001 61 04 ${hexOf(n)}`)
    expect(decoder.tableSize).toBe(110 * 37)
    expect(linesOf(decode(decoder, 'be'))).toEqual(['a: 0299'])
    expect(linesOf(decode(decoder, 'ff2c'))).toEqual(['a: 0190'])
    expect(decode(decoder, 'ff2d').kind).toBe('malformed')
  })
})

describe('limits of header lists', () => {
  const small: HeaderLimits = {
    maxListBytes: 220,
    maxFields: 4,
    maxNameBytes: 10,
    maxValueBytes: 20,
  }

  test.each([
    ['maxFields', '8282828282'],
    ['maxNameBytes', `000b ${'61'.repeat(11)} 00`],
    ['maxValueBytes', `0001 61 15 ${'62'.repeat(21)}`],
    ['maxListBytes', `000a ${'61'.repeat(10)} 14 ${'62'.repeat(20)}`.repeat(4)],
  ])('%s: the list is not given out, the connection goes on', (limit, hex) => {
    const decoder = new HpackDecoder(small)
    expect(decode(decoder, hex)).toEqual({ kind: 'too-large', limit })
    expect(linesOf(decode(decoder, '82'))).toEqual([':method: GET'])
  })

  test('what is at the limit passes', () => {
    const decoder = new HpackDecoder(small)
    expect(linesOf(decode(decoder, '82828282'))).toHaveLength(4)
    const field = `000a ${'61'.repeat(10)} 14 ${'62'.repeat(20)}`
    expect(linesOf(decode(decoder, field.repeat(3)))).toHaveLength(3)
  })

  test('the table follows a list that is too large, for the lists after it', () => {
    const decoder = new HpackDecoder(small)
    expect(decode(decoder, '8282828282 4001 61 01 62').kind).toBe('too-large')
    expect(linesOf(decode(decoder, 'be'))).toEqual(['a: b'])
  })

  test('an HPACK bomb costs no more than its octets', () => {
    const decoder = new HpackDecoder({ ...ROOMY, maxFields: 100 })
    const value = 'c'.repeat(4_000)
    decode(decoder, `4001 61 7fa1 1e ${Buffer.from(value).toString('hex')}`)
    expect(decode(decoder, 'be'.repeat(20_000))).toEqual({
      kind: 'too-large',
      limit: 'maxListBytes',
    })
  })
})

test('octets beyond ASCII come as one character each', () => {
  const fields: readonly HeaderField[] = [{ name: 'a', value: 'é\u00ff' }]
  expect(decode(new HpackDecoder(ROOMY), '0001 61 02 e9ff')).toEqual({ kind: 'fields', fields })
})
