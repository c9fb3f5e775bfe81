import { describe, expect, test } from 'vitest'
import { OpenLoop } from './open-loop.ts'

describe('OpenLoop', () => {
  test('requests are due at fixed moments, whatever became of those before', () => {
    const loop = new OpenLoop({ startMs: 1_000, perSecond: 100, seconds: 0.05 })
    expect(loop.total).toBe(5)
    loop.advance(999)
    expect(loop.take()).toBeUndefined()
    loop.advance(1_025)
    expect([loop.take(), loop.take(), loop.take(), loop.take()]).toEqual([
      1_000,
      1_010,
      1_020,
      undefined,
    ])
    loop.advance(9_000)
    expect([loop.take(), loop.take(), loop.take()]).toEqual([1_030, 1_040, undefined])
  })

  test('a stall counts for each request that it delayed', () => {
    const loop = new OpenLoop({ startMs: 0, perSecond: 100, seconds: 1 })
    // One connection: the first answer takes half a second, all others come at once.
    loop.advance(0)
    const first = loop.take() ?? Number.NaN
    loop.advance(500)
    loop.answered(first, 500)
    for (let now = 500; now < 1_000; now += 10) {
      loop.advance(now)
      for (let due = loop.take(); due !== undefined; due = loop.take()) loop.answered(due, now)
    }
    expect(loop.finished).toBe(true)
    const { latencyMs, answered, unanswered } = loop.report(1_000, [])
    expect({ answered, unanswered }).toEqual({ answered: 100, unanswered: 0 })
    // A closed loop would have seen one slow request of a hundred.
    expect(latencyMs.p90).toBeGreaterThan(390)
    expect(latencyMs.max).toBeGreaterThan(490)
  })

  test('what has no answer counts with its age', () => {
    const loop = new OpenLoop({ startMs: 0, perSecond: 10, seconds: 1 })
    loop.advance(1_000)
    const first = loop.take() ?? Number.NaN
    loop.answered(first, 1)
    const second = loop.take() ?? Number.NaN
    loop.take()
    loop.failed()
    expect(loop.finished).toBe(false)
    const report = loop.report(2_000, [second])
    expect(report).toMatchObject({ answered: 1, failed: 1, unanswered: 8 })
    expect(report.latencyMs.max).toBeGreaterThan(1_880)
    expect(report.latencyMs.p50).toBeGreaterThan(1_000)
  })
})
