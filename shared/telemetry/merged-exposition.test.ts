import { describe, expect, test } from 'vitest'
import { MergedExposition } from './merged-exposition.ts'
import { Metrics } from './metrics.ts'

/** The text of one thread that saw `calls` calls of a caller, and one of nobody. */
async function textOf(caller: string, calls: number): Promise<string> {
  const metrics = new Metrics()
  const counter = metrics.counter({ name: 'calls_total', help: 'Calls', labels: ['from'] })
  counter.inc({ from: caller }, calls)
  metrics.counter({ name: 'unused_total', help: 'Nothing', labels: ['from'] })
  metrics.gauge({ name: 'open', help: 'Open calls' }).set({}, calls)
  const buckets = [1, 10]
  const sizes = metrics.histogram({ name: 'size', help: 'Sizes', labels: ['from'], buckets })
  for (let call = 0; call < calls; call++) sizes.observe({ from: caller }, call)
  return await metrics.exposition()
}

describe('MergedExposition', () => {
  test('adds what is equal in name and labels, and keeps the rest', async () => {
    const merged = new MergedExposition()
    for (const [caller, calls] of [
      ['a b', 3],
      ['a b', 4],
      ['c', 1],
    ] as const) {
      merged.add(await textOf(caller, calls))
    }
    expect(merged.text()).toBe(
      [
        '# HELP calls Calls',
        '# TYPE calls counter',
        'calls_total{from="a b"} 7',
        'calls_total{from="c"} 1',
        '# HELP open Open calls',
        '# TYPE open gauge',
        'open 8',
        '# HELP size Sizes',
        '# TYPE size histogram',
        'size_bucket{le="1",from="a b"} 4',
        'size_bucket{le="10",from="a b"} 7',
        'size_bucket{le="+Inf",from="a b"} 7',
        'size_sum{from="a b"} 9',
        'size_count{from="a b"} 7',
        'size_bucket{le="1",from="c"} 1',
        'size_bucket{le="10",from="c"} 1',
        'size_bucket{le="+Inf",from="c"} 1',
        'size_sum{from="c"} 0',
        'size_count{from="c"} 1',
        '# EOF',
        '',
      ].join('\n'),
    )
    expect(merged.size).toBe(13)
  })

  test('one text alone is as it was', async () => {
    const text = await textOf('a', 2)
    const merged = new MergedExposition()
    merged.add(text)
    expect(merged.text()).toBe(text)
  })

  test('totals only: what is open is over, what was counted stays', async () => {
    const merged = new MergedExposition()
    merged.add(await textOf('a', 2), { totalsOnly: true })
    expect(merged.text()).toContain('calls_total{from="a"} 2\n')
    expect(merged.text()).toContain('size_count{from="a"} 2\n')
    expect(merged.text()).not.toContain('open')
  })
})
