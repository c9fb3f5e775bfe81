import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../shared/runtime/clock.ts'
import { createLog } from '../../shared/runtime/log.ts'
import { NamespaceFinder } from './namespace-finder.ts'

const scope = `ambit-u${process.pid}f-`
const made = new Set<string>()

function namespace(name: string, address?: string): string {
  const full = `${scope}${name}`
  made.add(full)
  execFileSync('ip', ['netns', 'add', full])
  if (address !== undefined) own(full, address)
  return full
}

function own(full: string, address: string): void {
  execFileSync('ip', ['-n', full, 'link', 'add', 'eth0', 'type', 'bridge'])
  execFileSync('ip', ['-n', full, 'addr', 'add', `${address}/24`, 'dev', 'eth0'])
  execFileSync('ip', ['-n', full, 'link', 'set', 'eth0', 'up'])
}

function remove(full: string): void {
  execFileSync('ip', ['netns', 'del', full])
  made.delete(full)
}

function finderOf(lines: string[] = []) {
  const log = createLog({ level: 'debug', format: 'json', write: (line) => void lines.push(line) })
  return new NamespaceFinder({ scope, clock: systemClock, log })
}

afterEach(() => {
  for (const name of made) remove(name)
})

describe('NamespaceFinder', () => {
  test('finds the one namespace that owns an address', () => {
    const name = namespace('a', '10.11.12.13')
    namespace('b', '10.11.12.14')
    using finder = finderOf()
    finder.scan()
    expect(finder.find(['10.11.12.13'])).toMatchObject({ kind: 'found', name })
    expect(finder.find(['10.11.12.99'])).toEqual({ kind: 'missing' })
  })

  test('two owners of one address are a conflict', () => {
    const names = [namespace('c', '10.11.12.15'), namespace('d', '10.11.12.15')]
    using finder = finderOf()
    finder.scan()
    expect(finder.find(['10.11.12.15'])).toEqual({ kind: 'conflict', names })
  })

  test('notices a namespace that comes, gets its address late, goes, and is made anew', async () => {
    using finder = finderOf()
    const changes: string[] = []
    let wake: () => void = () => undefined
    const until = async (kind: string): Promise<void> => {
      while (finder.find(['10.11.12.16']).kind !== kind) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      changes.push(kind)
    }
    finder.onChange(() => wake())
    finder.start()
    const name = namespace('e')
    own(name, '10.11.12.16')
    await until('found')
    const first = finder.find(['10.11.12.16'])
    remove(name)
    await until('missing')
    namespace('e', '10.11.12.16')
    await until('found')
    expect(finder.find(['10.11.12.16'])).not.toEqual(first)
    expect(changes).toEqual(['found', 'missing', 'found'])
  })

  test('a namespace outside the scope does not count', () => {
    const outside = `x${scope}a`
    execFileSync('ip', ['netns', 'add', outside])
    made.add(outside)
    own(outside, '10.11.12.17')
    using finder = finderOf()
    finder.scan()
    expect(finder.find(['10.11.12.17'])).toEqual({ kind: 'missing' })
  })

  test('a namespace that another user namespace owns does not count, and the log says so', async () => {
    const name = `${scope}user`
    const holder = spawn('unshare', [
      '--user',
      '--map-root-user',
      '--net',
      'sh',
      '-c',
      'echo up; exec sleep 60',
    ])
    try {
      await once(holder.stdout, 'data')
      execFileSync('touch', [`/var/run/netns/${name}`])
      made.add(name)
      execFileSync('mount', ['--bind', `/proc/${holder.pid}/ns/net`, `/var/run/netns/${name}`])
      own(name, '10.11.12.18')
      const lines: string[] = []
      using finder = finderOf(lines)
      finder.scan()
      expect(finder.find(['10.11.12.18'])).toEqual({ kind: 'missing' })
      expect(lines.join('')).toContain('another user namespace')
    } finally {
      holder.kill()
    }
  })
})
