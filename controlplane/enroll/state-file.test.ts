import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ReportStore } from './report-store.ts'
import { VipFile } from './vip-file.ts'

describe('state on disk', () => {
  let directory: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambit-state-'))
  })

  afterEach(async () => {
    await rm(directory, { recursive: true, force: true })
  })

  test('captured pods outlive the process', async () => {
    const store = new ReportStore(directory)
    expect([...(await store.load())]).toEqual([])
    await store.update(
      new Map([
        ['a', true],
        ['b', true],
      ]),
    )
    await store.update(new Map([['a', false]]))
    expect([...(await new ReportStore(directory).load())]).toEqual(['b'])
    expect(await readdir(directory)).toEqual(['captured.json'])
  })

  test('a write that died half-way leaves the old value', async () => {
    const store = new ReportStore(directory)
    await store.update(new Map([['a', true]]))
    await writeFile(join(directory, 'captured.json.0a0a.tmp'), '{"version":1,"capt')
    expect([...(await new ReportStore(directory).load())]).toEqual(['a'])
  })

  test('a write that fails changes nothing, and the next one has it all', async () => {
    const store = new ReportStore(join(directory, 'missing'))
    await expect(store.update(new Map([['a', true]]))).rejects.toMatchObject({
      code: 'STATE_WRITE',
    })
    const working = new ReportStore(directory)
    await working.update(new Map([['a', true]]))
    const before = await readFile(join(directory, 'captured.json'), 'utf8')
    await working.update(new Map([['a', true]]))
    expect(await readFile(join(directory, 'captured.json'), 'utf8')).toBe(before)
  })

  test.for(['', '{', '{"version":2,"captured":[]}', '{"version":1,"captured":[1]}', '[]'])(
    'a corrupt file is refused with its name and advice: %j',
    async (text) => {
      const path = join(directory, 'captured.json')
      await writeFile(path, text)
      const loaded = new ReportStore(directory).load()
      await expect(loaded).rejects.toMatchObject({ code: 'STATE_CORRUPT' })
      await expect(loaded).rejects.toThrow(path)
      await expect(loaded).rejects.toThrow(/Restore it from a backup/)
    },
  )

  test('addresses of services outlive the process', async () => {
    const assignments = [{ service: 'shop/a.shop.svc.cluster.local', address: '240.240.0.9' }]
    const file = new VipFile(directory)
    expect(await file.load()).toEqual([])
    await file.update(assignments)
    expect(await new VipFile(directory).load()).toEqual(assignments)
  })
})
