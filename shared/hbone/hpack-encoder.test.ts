import { describe, expect, test } from 'vitest'
import { HpackDecoder } from './hpack-decoder.ts'
import { HeaderBlockCache, HpackEncoder } from './hpack-encoder.ts'
import { type HeaderField, STATIC_FIELDS } from './hpack-static.ts'

function encoder({ huffman = false, maxBlocks = 4 } = {}): HpackEncoder {
  return new HpackEncoder(new HeaderBlockCache({ maxBlocks, huffman }))
}

const hexOf = (block: Uint8Array): string => Buffer.from(block).toString('hex')

const plainCases: readonly [string, HeaderField, string][] = [
  ['6.1 name and value in the static table', { name: ':status', value: '200' }, '88'],
  [
    '6.2.2 the name in the static table',
    { name: ':method', value: 'CONNECT' },
    '0207434f4e4e454354',
  ],
  ['6.2.2 nothing in the static table', { name: 'a', value: '' }, '00016100'],
  ['5.1 an index that fills its prefix', { name: 'via', value: 'b' }, '0f2d0162'],
  ['C.2.2', { name: ':path', value: '/sample/path' }, '040c2f73616d706c652f70617468'],
  [
    'C.2.3 never indexed, since it is called a secret',
    { name: 'password', value: 'secret', secret: true },
    '100870617373776f726406736563726574',
  ],
  [
    '7.1.3 never indexed, since the name says so',
    { name: 'authorization', value: 'x' },
    '1f080178',
  ],
  ['octets beyond ASCII', { name: 'a', value: 'é' }, '00016101e9'],
]

const huffmanCases: readonly [string, HeaderField, string][] = [
  ['C.4.1', { name: ':authority', value: 'www.example.com' }, '018cf1e3c2e5f23a6ba0ab90f4ff'],
  [
    'C.4.3',
    { name: 'custom-key', value: 'custom-value' },
    '008825a849e95ba97d7f8925a849e95bb8e8b4bf',
  ],
  ['C.6.1', { name: ':status', value: '302' }, '08826402'],
  ['not where it is no shorter', { name: 'a', value: 'AB{}' }, '0001610441427b7d'],
  ['not for nothing', { name: 'a', value: '' }, '00016100'],
]

describe('encoding (RFC 7541 sections 5, 6, appendix C)', () => {
  test.each(plainCases)('%s', (_name, field, hex) => {
    expect(hexOf(encoder().encode([field]))).toBe(hex)
  })

  test.each(huffmanCases)('Huffman code: %s', (_name, field, hex) => {
    expect(hexOf(encoder({ huffman: true }).encode([field]))).toBe(hex)
  })

  test.each([false, true])('a character that is no octet is refused (huffman: %s)', (huffman) => {
    const field = { name: 'baggage', value: 'k8s.cluster.name=żółw-and-some-more-text' }
    expect(() => encoder({ huffman }).encode([field])).toThrow(/header baggage/)
    expect(() => encoder({ huffman }).encode([{ name: 'b€', value: '' }])).toThrow(/header b€/)
  })

  test('every static entry and every octet comes back from the decoder', () => {
    const octets = Array.from({ length: 256 }, (_, octet) => String.fromCharCode(octet))
    const fields = [
      ...STATIC_FIELDS.filter(({ name }) => !/cookie|auth/.test(name)),
      ...octets.map((octet) => ({ name: 'x', value: `${octet.repeat(3)}aaaaaaaaaaaaaaaaaa` })),
      { name: 'x', value: octets.join('').repeat(20) },
    ]
    const limits = { maxListBytes: 1e6, maxFields: 1e4, maxNameBytes: 1e4, maxValueBytes: 1e5 }
    for (const huffman of [false, true]) {
      const block = encoder({ huffman }).encode(fields)
      const decoded = new HpackDecoder(limits).decode(block, 0, block.length)
      expect(decoded).toEqual({ kind: 'fields', fields })
    }
  })

  test('the static table has the 61 entries of appendix A', () => {
    expect(STATIC_FIELDS).toHaveLength(61)
    expect(STATIC_FIELDS[15]).toEqual({ name: 'accept-encoding', value: 'gzip, deflate' })
    expect(STATIC_FIELDS[60]).toEqual({ name: 'www-authenticate', value: '' })
  })
})

describe('repeated lists', () => {
  const ok: readonly HeaderField[] = [
    { name: ':status', value: '200' },
    { name: 'baggage', value: 'a=b' },
  ]

  test('are encoded once, for all connections that share the cache', () => {
    const cache = new HeaderBlockCache({ maxBlocks: 4 })
    const first = new HpackEncoder(cache).encodeRepeated(ok)
    expect(new HpackEncoder(cache).encodeRepeated([...ok])).toBe(first)
    expect(hexOf(first)).toBe(hexOf(new HpackEncoder(cache).encode(ok)))
  })

  test('that differ only in where a name ends are told apart', () => {
    const own = encoder()
    const one = own.encodeRepeated([{ name: 'ab', value: 'c' }])
    const two = own.encodeRepeated([{ name: 'a', value: 'bc' }])
    expect(hexOf(one)).not.toBe(hexOf(two))
  })

  test('beyond the bound drive out the one unused for longest', () => {
    const cache = new HeaderBlockCache({ maxBlocks: 2 })
    const status = (value: string): readonly HeaderField[] => [{ name: ':status', value }]
    const first = cache.blockOf(status('201'))
    const second = cache.blockOf(status('202'))
    expect(cache.blockOf(status('201'))).toBe(first)
    cache.blockOf(status('203'))
    expect(cache.size).toBe(2)
    expect(cache.blockOf(status('201'))).toBe(first)
    expect(cache.blockOf(status('202'))).not.toBe(second)
  })

  test('with a secret are not kept', () => {
    const cache = new HeaderBlockCache({ maxBlocks: 2 })
    const block = cache.blockOf([{ name: 'cookie', value: 'a' }])
    expect(hexOf(block)).toBe('1f110161')
    expect(cache.size).toBe(0)
  })
})

describe('the table of the peer (RFC 9113 section 4.3.1)', () => {
  const ok: readonly HeaderField[] = [{ name: ':status', value: '200' }]

  test('a reduction is answered by one size update, at the beginning of the next block', () => {
    const own = encoder()
    own.encodeRepeated(ok)
    own.setPeerTableSize(100)
    expect(hexOf(own.encodeRepeated(ok))).toBe('2088')
    expect(hexOf(own.encodeRepeated(ok))).toBe('88')
    own.setPeerTableSize(0)
    expect(hexOf(own.encode(ok))).toBe('88')
  })

  test('anything else needs none', () => {
    const own = encoder()
    own.setPeerTableSize(4_096)
    own.setPeerTableSize(65_536)
    expect(hexOf(own.encode(ok))).toBe('88')
  })
})
