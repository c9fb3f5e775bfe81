import { describe, expect, test } from 'vitest'
import { renderPage } from './page.ts'
import { type RawCell, ResultsSchema, resultsOf } from './results.ts'
import { renderTable } from './table.ts'
import {
  testingCell,
  testingPlan,
  testingRun,
  testingTopology,
  testingWorkload,
} from './testing-plan.ts'

const stock = testingTopology('peer-stock', { family: 'peer' })
const tuned = testingTopology('peer-tuned', { family: 'peer' })
const own = testingTopology('ambit')
const plain = testingTopology('direct', { encrypted: false })
const load = testingWorkload('load', { about: 'a <load> & more' })

const MIB = 1_048_576
const proxy = (name: string, cpuSeconds: number) => ({
  name,
  cpuSeconds,
  contextSwitches: 400,
  rssBytes: 2 * MIB,
  pssBytes: MIB,
})

const results = (cells: readonly RawCell[], workload = load) =>
  resultsOf({
    plan: testingPlan([stock, tuned, own, plain], [workload]),
    startedAt: new Date(0),
    tookSeconds: 1,
    machine: { kernel: '6 "x"' },
    proofs: new Map([
      [
        'ambit',
        { frames: 9, framesThatShowThePayload: 0, hops: [{ name: 'a hop', connections: 1 }] },
      ],
    ]),
    cells,
  })

const cells: readonly RawCell[] = [
  testingCell(
    load,
    stock,
    [90, 110, 100].map((value) => testingRun(value)),
  ),
  testingCell(
    load,
    tuned,
    [200, 210, 190].map((value) => testingRun(value)),
  ),
  testingCell(load, own, [
    testingRun(300, {
      requests: 600,
      bytes: 2e9,
      proxies: [proxy('one', 0.3), proxy('two', 0.3)],
      latencyMs: { p50: 1, p90: 2, p99: 3, p999: 4 },
      notes: ['mind this'],
    }),
  ]),
  { ...testingCell(load, plain, []), failures: ['round 1: it broke'] },
]

describe('resultsOf', () => {
  test('compares medians with the better variant of each family', () => {
    const [a, b, c] = results(cells).cells
    expect(a?.summary).toMatchObject({
      value: { median: 100, min: 90, max: 110 },
      ratios: { peer: 0.5 },
    })
    expect(b?.summary?.ratios['peer']).toBe(1)
    expect(c?.summary?.ratios).toEqual({ peer: 1.5, ambit: 1 })
  })

  test('takes the smaller as the better where less is better', () => {
    const less = testingWorkload('less', { figure: { name: 'p99', unit: 'ms', better: 'lower' } })
    const [a] = results(
      cells.map((cell) => ({ ...cell, workload: less })),
      less,
    ).cells
    expect(a?.summary?.ratios['peer']).toBe(1)
  })

  test('gives CPU per request and per GB, of each proxy and of the path', () => {
    const summary = results(cells).cells[2]?.summary
    expect(summary?.cpuSecondsPer1000Requests?.median).toBeCloseTo(1)
    expect(summary?.cpuSecondsPerGb?.median).toBeCloseTo(0.3)
    expect(summary?.proxies).toHaveLength(2)
    expect(summary?.proxies[0]).toMatchObject({
      name: 'one',
      contextSwitchesPerSecond: { median: 200 },
      pssBytes: { median: MIB },
    })
    expect(summary?.proxies[0]?.cpuSecondsPerGb?.median).toBeCloseTo(0.15)
  })

  test('gives no CPU per GB where bodies are small', () => {
    const run = testingRun(300, { requests: 600, bytes: 60_000, proxies: [proxy('one', 0.3)] })
    const summary = results([testingCell(load, own, [run])]).cells[0]?.summary
    expect(summary?.cpuSecondsPerGb).toBeUndefined()
    expect(summary?.cpuSecondsPer1000Requests?.median).toBeCloseTo(0.5)
  })

  test('survives JSON in the shape that is promised', () => {
    const made = results(cells)
    const read = ResultsSchema.parse(JSON.parse(JSON.stringify(made)))
    expect(read.cells[3]).toMatchObject({ topology: 'direct', failures: ['round 1: it broke'] })
    expect(read.cells[3]?.summary).toBeUndefined()
    expect(read.topologies[2]?.proof).toEqual({
      frames: 9,
      framesThatShowThePayload: 0,
      hops: [{ name: 'a hop', connections: 1 }],
    })
  })
})

describe('renderTable', () => {
  test('has a line for each topology, with failures and notes', () => {
    const text = renderTable(results(cells))
    expect(text).toContain('load: a <load> & more')
    expect(text).toMatch(/^ {2}peer-stock +100 +90\.0 +110 +0\.50 /m)
    expect(text).toMatch(
      /^ {2}ambit +300 +300 +300 +1\.50 +1\.00 +2\.00 +3\.00 +4\.00 +1,000 +300 +400 +4\.0 +2\.0$/m,
    )
    expect(text).toMatch(/^ {2}direct +failed/m)
    expect(text).toContain('direct: round 1: it broke')
    expect(text).toContain('ambit: mind this')
  })
})

describe('renderPage', () => {
  const page = renderPage(results(cells))

  test('is self-contained', () => {
    expect(page).not.toMatch(/<script|<link|<img|\bsrc=|https?:|url\(|@import/)
    expect(page.match(/<svg /g)).toHaveLength(1)
    expect(page.match(/<rect /g)).toHaveLength(3)
  })

  test('scales bars to the greatest value', () => {
    const widths = [...page.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) =>
      Number(width),
    )
    expect(widths[2]).toBe(560)
    expect(widths[0]).toBeCloseTo(560 / 3, 0)
  })

  test('escapes what comes from outside', () => {
    expect(page).toContain('a &#60;load&#62; &#38; more')
    expect(page).toContain('6 &#34;x&#34;')
    expect(page).not.toContain('<load>')
  })
})
