import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../shared/runtime/clock.ts'
import { createLog, type Log, silentLog } from '../../shared/runtime/log.ts'
import type { ObjectEvent } from './events.ts'
import { FileSource } from './files.ts'

const namespace = (name: string, label = 'a'): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${name}\n  labels: { l: ${label} }\n`

let directory: string
let sources: FileSource[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'objects-'))
  sources = []
})

afterEach(async () => {
  for (const source of sources) await source[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

const write = (name: string, text: string): Promise<void> => writeFile(join(directory, name), text)

/** Follows a source: what is in force, and a way to wait for it. */
async function follow(log: Log = silentLog) {
  const state = new Map<string, string>()
  let wake = (): void => undefined
  const source = new FileSource({ directory, clock: systemClock, log })
  sources.push(source)
  await source.start((batch: readonly ObjectEvent[]) => {
    for (const event of batch) {
      if (event.type === 'delete') state.delete(event.ref.name)
      else state.set(event.object.metadata.name, event.object.metadata.labels['l'] ?? '')
    }
    wake()
  })
  const text = (): string =>
    [...state]
      .map((pair) => pair.join('='))
      .sort()
      .join(' ')
  return {
    source,
    text,
    async until(expected: string): Promise<void> {
      while (text() !== expected) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}

/** Waits until the problems are as wanted; a problem alone makes no batch. */
async function problemsUntil(
  source: FileSource,
  isRight: (reasons: string[]) => boolean,
): Promise<void> {
  await expect
    .poll(() => isRight(source.problems().map(({ reason }) => reason)), { timeout: 5_000 })
    .toBe(true)
}

describe('a directory of objects', () => {
  test('all of it is there when the start has settled, sub-directories too', async () => {
    await mkdir(join(directory, 'deep/er'), { recursive: true })
    await write('a.yaml', namespace('a'))
    await write('deep/er/b.yml', namespace('b'))
    await write(
      'c.json',
      '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c","labels":{"l":"j"}}}',
    )
    expect((await follow()).text()).toBe('a=a b=a c=j')
  })

  test('files of editors are not looked at', async () => {
    for (const name of [
      '.a.yaml',
      'a.yaml~',
      '.a.yaml.swp',
      '#a.yaml#',
      '4913',
      'a.yaml.swp',
      'readme.md',
    ]) {
      await write(name, namespace('x'))
    }
    expect((await follow()).text()).toBe('')
  })

  test('changes, new files, new directories and deletions arrive', async () => {
    await write('a.yaml', namespace('a'))
    const followed = await follow()
    await write('a.yaml', namespace('a', 'b'))
    await followed.until('a=b')
    await mkdir(join(directory, 'new'))
    await write('new/b.yaml', namespace('b'))
    await followed.until('a=b b=a')
    await write('new/b.yaml', namespace('b', 'c'))
    await followed.until('a=b b=c')
    await rm(join(directory, 'a.yaml'))
    await followed.until('b=c')
    await rm(join(directory, 'new'), { recursive: true })
    await followed.until('')
  })

  test('a change arrives well under a second', async () => {
    await write('a.yaml', namespace('a'))
    const followed = await follow()
    const start = performance.now()
    await write('a.yaml', namespace('a', 'b'))
    await followed.until('a=b')
    expect(performance.now() - start).toBeLessThan(900)
  })

  test('a file replaced by renaming is one change', async () => {
    await write('a.yaml', namespace('a'))
    const followed = await follow()
    await write('.a.yaml.tmp', namespace('a', 'b'))
    await rename(join(directory, '.a.yaml.tmp'), join(directory, 'a.yaml'))
    await followed.until('a=b')
  })

  test('a half-written file changes nothing until it is whole', async () => {
    await write('a.yaml', namespace('a') + '---\n' + namespace('b'))
    const followed = await follow()
    await write('a.yaml', `${namespace('a', 'x')}---\n{ apiVersion: v1, kind: `)
    await problemsUntil(followed.source, (reasons) => reasons.length === 1)
    expect(followed.text()).toBe('a=a b=a')
    await write('a.yaml', namespace('a', 'x'))
    await followed.until('a=x')
    expect(followed.source.problems()).toEqual([])
  })

  test('an emptied file is believed only when it stays empty', async () => {
    await write('a.yaml', namespace('a'))
    const followed = await follow()
    await write('a.yaml', '')
    const start = performance.now()
    await followed.until('')
    expect(performance.now() - start).toBeGreaterThan(400)
  })

  test('mounted volumes that swap a link are followed; links that lead out are not', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'outside-'))
    try {
      await writeFile(join(outside, 'x.yaml'), namespace('x'))
      await symlink(join(outside, 'x.yaml'), join(directory, 'out.yaml'))
      for (const version of ['1', '2']) {
        await mkdir(join(directory, `..v${version}`))
        await write(`..v${version}/a.yaml`, namespace('a', `v${version}`))
      }
      await symlink('..v1', join(directory, '..data'))
      await symlink('..data/a.yaml', join(directory, 'a.yaml'))
      const followed = await follow()
      expect(followed.text()).toBe('a=v1')
      expect(followed.source.problems()).toMatchObject([
        { file: 'out.yaml', reason: expect.stringContaining('leads out') },
      ])
      await symlink('..v2', join(directory, '..data_tmp'))
      await rename(join(directory, '..data_tmp'), join(directory, '..data'))
      await followed.until('a=v2')
    } finally {
      await rm(outside, { recursive: true })
    }
  })

  test('a file that is too large is refused, and what it said stays in force', async () => {
    await write('a.yaml', namespace('a'))
    const followed = await follow()
    await write('a.yaml', `#${'x'.repeat(11 * 1024 * 1024)}`)
    await problemsUntil(followed.source, ([reason]) => reason?.includes('at most') ?? false)
    expect(followed.text()).toBe('a=a')
  })

  test('a directory that vanishes takes nothing with it', async () => {
    await write('a.yaml', namespace('a'))
    const followed = await follow()
    await rename(directory, `${directory}.away`)
    await problemsUntil(followed.source, ([reason]) => reason?.includes('stay in force') ?? false)
    expect(followed.text()).toBe('a=a')
    await rename(`${directory}.away`, directory)
  })

  test('without a directory there is no start', async () => {
    directory = join(directory, 'nowhere')
    await expect(follow()).rejects.toThrow(/cannot read the directory of objects .*nowhere/)
  })

  test('each problem is logged once; kinds that are not used in one line when their counts change', async () => {
    const lines: string[] = []
    const log = createLog({ level: 'info', format: 'json', write: (line) => void lines.push(line) })
    await write('a.yaml', `${namespace('A')}---\n{ apiVersion: apps/v1, kind: Deployment }\n`)
    const followed = await follow(log)
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { level: 'warn', file: 'a.yaml', document: 1, object: 'Namespace//A', path: 'metadata.name' },
      { level: 'info', counts: { 'apps/v1 Deployment': 1 } },
    ])
    await write('b.yaml', namespace('b'))
    await followed.until('b=a')
    expect(lines).toHaveLength(2)
  })
})
