import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { PayloadSearch } from './payload-search.ts'

const payload = randomBytes(1_000)
const search = new PayloadSearch(payload)

test('finds every window of twelve bytes, wherever it stands', () => {
  for (let at = 0; at + 12 <= payload.length; at++) {
    const frame = Buffer.concat([
      Buffer.alloc(at % 7, 1),
      payload.subarray(at, at + 12),
      Buffer.alloc(at % 5),
    ])
    expect(search.foundIn(frame), `window at ${at}`).toBe(true)
  }
})

test('does not find eleven bytes, nor noise', () => {
  for (let at = 0; at + 13 <= payload.length; at++) {
    const frame = Buffer.from(payload.subarray(at, at + 13))
    frame[0] = ~(payload[at] ?? 0) & 255
    frame[12] = ~(payload[at + 12] ?? 0) & 255
    expect(search.foundIn(frame), `piece at ${at}`).toBe(false)
  }
  expect(search.foundIn(randomBytes(20_000))).toBe(false)
  expect(search.foundIn(Buffer.alloc(2))).toBe(false)
})
