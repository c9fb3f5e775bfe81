/**
 * The Huffman code of HPACK (RFC 7541 section 5.2, appendix B). The code is canonical: its lengths say all. One
 * digit to base 36 for each symbol: 0 to 255 and the end of string.
 */
const LENGTHS =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca' +
  'd67777777777777777777777878djde6f56565666577666567655677777fbeds' +
  'kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn' +
  'qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq' +
  'u'

const END_OF_STRING = 256
const SYMBOLS = 257
/** The tree of the code has an inner node fewer than leaves; node 0 is the root. */
const NODES = SYMBOLS - 1
/** Bits that can pad the last octet; more would be a whole octet of padding (section 5.2). */
const MAX_PADDING_BITS = 7

const lengths = Uint8Array.from(LENGTHS, (digit) => Number.parseInt(digit, 36))
const codes = codesOf(lengths)

/**
 * The decoder's steps, four bits at a time: entry `node * 16 + bits` has the next node in its low octet, the symbol
 * that ended on the way in the octet above (no code is shorter than five bits, so there is one at most), and
 * these marks.
 */
const EMITS = 0x1_00_00
const FAILS = 0x2_00_00
const { steps, mayEnd } = decoderOf(lengths, codes)

/** Bytes that decoding `bytes` can give at most: the shortest code has five bits. */
export function huffmanDecodedBound(bytes: number): number {
  return Math.ceil((bytes * 8) / 5)
}

/**
 * Decodes into `out` from its beginning, which has room for `huffmanDecodedBound`. Returns how many bytes came
 * out; -1 if the string holds the end-of-string symbol, or its padding is too long or not all ones.
 */
export function decodeHuffman(
  source: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
): number {
  let node = 0
  let length = 0
  for (let at = start; at < end; at++) {
    const octet = source[at] ?? 0
    let step = steps[(node << 4) | (octet >>> 4)] ?? FAILS
    if (step >= EMITS) {
      if (step >= FAILS) return -1
      out[length++] = step >>> 8
    }
    step = steps[((step & 0xff) << 4) | (octet & 15)] ?? FAILS
    if (step >= EMITS) {
      if (step >= FAILS) return -1
      out[length++] = step >>> 8
    }
    node = step & 0xff
  }
  return mayEnd[node] === 1 ? length : -1
}

/** How many bytes `text` takes in Huffman code. Characters are octets. */
export function huffmanBytes(text: string): number {
  let bits = 0
  for (let index = 0; index < text.length; index++) bits += lengths[text.charCodeAt(index)] ?? 0
  return (bits + 7) >>> 3
}

/** Writes `huffmanBytes(text)` bytes; returns the offset after them. */
export function writeHuffman(out: Uint8Array, at: number, text: string): number {
  // Never more than 7 bits are left over between symbols, and halves of at most 16 go in: 32 are enough.
  let held = 0
  let bits = 0
  for (let index = 0; index < text.length; index++) {
    const symbol = text.charCodeAt(index)
    const code = codes[symbol] ?? 0
    let rest = lengths[symbol] ?? 0
    while (rest > 0) {
      const take = rest > 16 ? rest - 16 : rest
      rest -= take
      held = (held << take) | ((code >>> rest) & 0xffff)
      bits += take
      while (bits >= 8) {
        bits -= 8
        out[at++] = held >>> bits
      }
      held &= (1 << bits) - 1
    }
  }
  if (bits > 0) out[at++] = (held << (8 - bits)) | (0xff >>> bits)
  return at
}

function codesOf(lengths: Uint8Array): Uint32Array {
  const codes = new Uint32Array(SYMBOLS)
  let code = 0
  for (let length = 1; length <= 30; length++) {
    code *= 2
    lengths.forEach((own, symbol) => {
      if (own === length) codes[symbol] = code++
    })
  }
  return codes
}

interface Decoder {
  readonly steps: Uint32Array
  /** 1 for nodes where a string may end: the root, and where only ones lie behind. */
  readonly mayEnd: Uint8Array
}

function decoderOf(lengths: Uint8Array, codes: Uint32Array): Decoder {
  const children = treeOf(lengths, codes)
  const steps = new Uint32Array(NODES * 16)
  for (let node = 0; node < NODES; node++) {
    for (let bits = 0; bits < 16; bits++) steps[node * 16 + bits] = stepOf(children, node, bits)
  }
  const mayEnd = new Uint8Array(NODES)
  for (let depth = 0, node = 0; depth <= MAX_PADDING_BITS; depth++) {
    mayEnd[node] = 1
    node = children[node * 2 + 1] ?? 0
  }
  return { steps, mayEnd }
}

/** Two children for each node: another node, or -1 - symbol. */
function treeOf(lengths: Uint8Array, codes: Uint32Array): Int32Array {
  const children = new Int32Array(NODES * 2)
  let nodes = 1
  lengths.forEach((length, symbol) => {
    const code = codes[symbol] ?? 0
    let node = 0
    for (let bit = length - 1; bit > 0; bit--) {
      const side = node * 2 + ((code >>> bit) & 1)
      if (children[side] === 0) children[side] = nodes++
      node = children[side] ?? 0
    }
    children[node * 2 + (code & 1)] = -1 - symbol
  })
  return children
}

function stepOf(children: Int32Array, from: number, bits: number): number {
  let node = from
  let emitted = 0
  for (let bit = 3; bit >= 0; bit--) {
    node = children[node * 2 + ((bits >>> bit) & 1)] ?? 0
    if (node >= 0) continue
    const symbol = -1 - node
    if (symbol === END_OF_STRING) return FAILS
    emitted = EMITS | (symbol << 8)
    node = 0
  }
  return emitted | node
}
