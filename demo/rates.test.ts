import { expect, test } from 'vitest'
import { Rates } from './rates.ts'

test('the rate is that of the last five seconds', () => {
  const rates = new Rates()
  rates.update(0, new Map([['a', 100]]))
  expect(rates.perSecond('a')).toBeUndefined()
  rates.update(2_000, new Map([['a', 110]]))
  expect(rates.perSecond('a')).toBe(5)
  for (let at = 3_000; at <= 20_000; at += 1_000) rates.update(at, new Map([['a', 110]]))
  expect(rates.perSecond('a')).toBe(0)
})

test('a counter that starts anew has no negative rate', () => {
  const rates = new Rates()
  rates.update(0, new Map([['a', 100]]))
  rates.update(1_000, new Map([['a', 4]]))
  expect(rates.perSecond('a')).toBeUndefined()
  rates.update(2_000, new Map([['a', 8]]))
  expect(rates.perSecond('a')).toBe(4)
})

test('a counter that is gone is forgotten', () => {
  const rates = new Rates()
  rates.update(0, new Map([['a', 1]]))
  rates.update(1_000, new Map())
  rates.update(2_000, new Map([['a', 9]]))
  expect(rates.perSecond('a')).toBeUndefined()
})
