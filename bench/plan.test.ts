import { describe, expect, test } from 'vitest'
import { TOPOLOGIES, workloadsWith } from './catalogue.ts'
import { type BenchFlags, isWorthwhile, planOf } from './plan.ts'

const plan = (flags: BenchFlags) => planOf(flags, { topologies: TOPOLOGIES, workloadsWith })
const names = (things: readonly { readonly name: string }[]): readonly string[] =>
  things.map(({ name }) => name)

describe('the catalogue', () => {
  test('has every name once', () => {
    const all = [...names(TOPOLOGIES), ...names(workloadsWith())]
    expect(new Set(all).size).toBe(all.length)
  })
})

describe('planOf', () => {
  test('takes everything unless told', () => {
    const all = plan({})
    expect(all).toMatchObject({
      quick: false,
      durationMs: 3_000,
      rounds: 5,
      baseline: 'haproxy-mtls',
    })
    expect(all.topologies).toEqual(TOPOLOGIES)
    expect(names(all.workloads)).toEqual(names(workloadsWith()))
  })

  test('takes less for a quick run, but what is named', () => {
    const quick = plan({ quick: true })
    expect(quick).toMatchObject({ durationMs: 1_000, rounds: 2 })
    expect(quick.workloads.length).toBeLessThan(workloadsWith().length)
    expect(names(plan({ quick: true, only: 'iperf3-8' }).workloads)).toEqual(['iperf3-8'])
    expect(names(plan({ quick: true, connections: '7' }).workloads)).toContain('http-7-0.1k')
  })

  test('selects by the first words of names, topologies and workloads apart', () => {
    const some = plan({ only: 'ambit-l4,direct, http-1' })
    expect(names(some.topologies)).toEqual(['direct', 'ambit-l4-one-node', 'ambit-l4-two-nodes'])
    expect(names(some.workloads)).toEqual(['http-1-0.1k', 'http-1-10k', 'http-1-1000k'])
    expect(names(plan({ only: 'direct' }).workloads)).toEqual(names(workloadsWith()))
    expect(names(plan({ only: 'haproxy-mtls-tuned' }).topologies)).toEqual(['haproxy-mtls-tuned'])
    expect(plan({ only: 'direct' }).baseline).toBe('direct')
  })

  test('reads duration, rounds and connections', () => {
    const own = plan({ duration: '1m 30s', rounds: '7', connections: '3,9', only: 'http' })
    expect(own).toMatchObject({ durationMs: 90_000, rounds: 7 })
    expect(names(own.workloads).filter((name) => name.endsWith('-10k'))).toEqual([
      'http-3-10k',
      'http-9-10k',
    ])
  })

  test.for<[BenchFlags, RegExp]>([
    [{ only: 'warp' }, /--only: nothing is called 'warp'; there are direct, /],
    [{ only: 'direct,' }, /--only: nothing is called ''/],
    [{ only: 'ambit-l' }, /--only/],
    [{ duration: '10' }, /--duration: '10'/],
    [{ duration: '200ms' }, /--duration/],
    [{ duration: '1h' }, /--duration/],
    [{ rounds: '0' }, /--rounds: '0'/],
    [{ rounds: '1.5' }, /--rounds/],
    [{ connections: '1,x' }, /--connections: 'x'/],
    [{ connections: '99999' }, /--connections/],
    [{ baseline: 'warp' }, /--baseline: there is direct, ambit-l4-one-node/],
  ])('refuses %j', ([flags, message]) => {
    expect(() => plan(flags)).toThrow(message)
    expect(() => plan(flags)).toThrow(expect.objectContaining({ code: 'AMBIT_SETTINGS' }))
  })
})

test('variants of handshakes are measured where connections are opened only', () => {
  const fresh = TOPOLOGIES.filter(({ name }) => name.endsWith('-fresh'))
  expect(fresh).toHaveLength(4)
  const loads = workloadsWith().filter((load) => fresh.every((one) => isWorthwhile(one, load)))
  expect(names(loads)).toEqual(['new-connections'])
})
