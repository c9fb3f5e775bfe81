import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { RecentQuantiles } from './recent-quantiles.ts'

test('a quantile is within 5 % of the exact one', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.02, max: 100_000, noNaN: true }), { minLength: 1 }),
      (values) => {
        const recent = new RecentQuantiles(new FakeClock())
        for (const value of values) recent.record(value)
        const sorted = values.toSorted((a, b) => a - b)
        const exact = sorted[Math.ceil(0.5 * sorted.length) - 1] ?? 0
        const { p50 = 0, count } = recent.read() ?? {}
        expect(count).toBe(values.length)
        expect(Math.abs(p50 - exact)).toBeLessThanOrEqual(exact * 0.05)
      },
    ),
  )
})

test('values fade away between one and two windows later', () => {
  const clock = new FakeClock()
  const recent = new RecentQuantiles(clock, 1_000)
  recent.record(5)
  clock.advance(1_000)
  recent.record(7)
  expect(recent.read()?.count).toBe(2)
  clock.advance(1_000)
  expect(recent.read()?.count).toBe(1)
  clock.advance(1_000)
  expect(recent.read()).toBeUndefined()
})

test('after a long silence nothing old is left', () => {
  const clock = new FakeClock()
  const recent = new RecentQuantiles(clock, 1_000)
  recent.record(5)
  clock.advance(5_000)
  expect(recent.read()).toBeUndefined()
})

test('odd values count at the ends and never throw', () => {
  const recent = new RecentQuantiles(new FakeClock())
  for (const value of [0, -1, Number.NaN, 1e12]) recent.record(value)
  expect(recent.read()?.count).toBe(4)
})
