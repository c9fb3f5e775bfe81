import { describe, expect, test } from 'vitest'
import { isBetter, median, ratioOf, spreadOf } from './statistics.ts'

describe('median', () => {
  test('is the middle, or the mean of the middle two, in any order', () => {
    expect(median([10, 9, 100])).toBe(10)
    expect(median([4, 1, 3, 2])).toBe(2.5)
    expect(median([7])).toBe(7)
    expect(median([])).toBeNaN()
  })
})

describe('spreadOf', () => {
  test('leaves out what was not measured', () => {
    expect(spreadOf([3, undefined, 1, 2])).toEqual({ median: 2, min: 1, max: 3 })
    expect(spreadOf([undefined])).toBeUndefined()
  })
})

describe('ratioOf', () => {
  test('is undefined where nothing can be compared', () => {
    expect(ratioOf(3, 2)).toBe(1.5)
    expect(ratioOf(3, 0)).toBeUndefined()
    expect(ratioOf(undefined, 2)).toBeUndefined()
    expect(ratioOf(3, undefined)).toBeUndefined()
  })
})

test('the sense of a figure decides what is better', () => {
  expect(isBetter('higher', 2, 1)).toBe(true)
  expect(isBetter('lower', 2, 1)).toBe(false)
})
