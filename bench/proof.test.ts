import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hopMoves, provePath, readHops } from './proof.ts'
import { Site } from './site.ts'
import { direct } from './topology/direct.ts'
import type { Hop, HopCount, RunningTopology } from './topology/topology.ts'

/** Counts on with each look. */
const countingHop = (counts: readonly HopCount[]): Hop => {
  let looks = 0
  return {
    name: 'a hop',
    read: () => {
      const count = counts[Math.min(looks++, counts.length - 1)]
      return count === undefined ? Promise.reject(new Error('no count')) : Promise.resolve(count)
    },
  }
}

describe('hopMoves', () => {
  const moves = async (counts: readonly HopCount[]) => {
    const hops = [countingHop(counts)]
    return await hopMoves(hops, await readHops(hops), 100, 200)
  }

  test('tells what has passed, once it is counted', async () => {
    const before = { connections: 5, bytes: 1_000 }
    const counts = [
      before,
      before,
      { connections: 6, bytes: 1_050 },
      { connections: 6, bytes: 1_150 },
    ]
    expect(await moves(counts)).toEqual([{ name: 'a hop', connections: 1, bytes: 150 }])
    const silent = (connections: number) => ({ connections, bytes: undefined })
    expect(await moves([silent(1), silent(3)])).toEqual([{ name: 'a hop', connections: 2 }])
  })

  test('refuses a hop that nothing passed', async () => {
    await expect(moves([{ connections: 5, bytes: 1_000 }])).rejects.toThrow(
      'a hop has counted 0 connections',
    )
    const fewBytes = [0, 1].map((connections) => ({ connections, bytes: 99 * connections }))
    await expect(moves(fewBytes)).rejects.toThrow('99 bytes: the traffic went another way')
  })
})

describe('provePath', () => {
  let site: Site
  let running: RunningTopology
  beforeAll(async () => {
    site = await Site.make()
    running = await direct.start(site)
    await site.app('echo', running.server)
  })
  afterAll(async () => await site[Symbol.asyncDispose]())

  test('sees the payload on a path in the clear', async () => {
    const proof = await provePath(direct, running)
    expect(proof.framesThatShowThePayload).toBeGreaterThan(1)
    expect(proof.hops).toEqual([])
  })

  test('refuses a topology that only says that it is encrypted', async () => {
    await expect(provePath({ ...direct, encrypted: true }, running)).rejects.toThrow(
      /direct: \d+ frames show the payload/,
    )
  })

  test('refuses a path without the hops that it claims', async () => {
    const hops = [countingHop([{ connections: 1, bytes: 1 }])]
    await expect(provePath(direct, { ...running, hops })).rejects.toThrow('went another way')
  })
})
