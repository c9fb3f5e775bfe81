import { describe, expect, test } from 'vitest'
import { parseDuration } from './duration.ts'

describe('parseDuration', () => {
  test.for([
    ['5s', 5_000],
    ['1m 30s', 90_000],
    ['1m30s', 90_000],
    ['24h', 86_400_000],
    ['250ms', 250],
    ['7d', 604_800_000],
    ['1.5s', 1_500],
    ['0', 0],
    [' 10s ', 10_000],
  ] as const)('reads %s', ([text, ms]) => {
    expect(parseDuration(text)).toBe(ms)
  })

  test.for(['', '5', '5 s', 's', '-5s', '5s 1m', '5s 5s', '1e3s', '5sec', '1,5s', '9999999999s'])(
    'refuses %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined()
    },
  )
})
