import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'

const CHUNK = 65_536
/** A prime, so that chunks shifted by lost or doubled data never look right. */
const PATTERN = 262_147

/**
 * The first `total` bytes of the stream that `seed` begins: the same for everyone, and without short repetitions, so
 * that both ends can compare hashes and a cut, a gap or a doubled piece shows.
 */
export function byteStream(total: number, seed: string): Readable {
  const pattern = patternOf(seed)
  let sent = 0
  return new Readable({
    highWaterMark: CHUNK,
    read() {
      if (sent >= total) {
        this.push(null)
        return
      }
      const start = sent % PATTERN
      const size = Math.min(CHUNK, total - sent, PATTERN - start)
      sent += size
      this.push(pattern.subarray(start, start + size))
    },
  })
}

/** Hex SHA-256 of the same bytes. */
export async function byteStreamHash(total: number, seed: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of byteStream(total, seed)) hash.update(chunk)
  return hash.digest('hex')
}

function patternOf(seed: string): Buffer {
  return createHash('shake256', { outputLength: PATTERN }).update(seed).digest()
}
