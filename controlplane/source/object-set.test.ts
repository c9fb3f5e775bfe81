import { describe, expect, test } from 'vitest'
import { parseObjectFile } from './object-file.ts'
import { ObjectSet } from './object-set.ts'

const namespace = (name: string, label = 'a'): string =>
  `{ apiVersion: v1, kind: Namespace, metadata: { name: ${name}, labels: { l: ${label} } } }\n---\n`
const invalid = (name: string): string =>
  `{ apiVersion: v1, kind: Namespace, metadata: { name: ${name}, labels: 7 } }\n---\n`

class Harness {
  readonly set = new ObjectSet()

  put(file: string, text: string): string[] {
    this.set.put(file, parseObjectFile(file, text))
    return this.events()
  }

  delete(file: string): string[] {
    this.set.delete(file)
    return this.events()
  }

  events(): string[] {
    return this.set
      .takeEvents()
      .map((event) =>
        event.type === 'put'
          ? `${event.object.metadata.name}=${event.object.metadata.labels['l']}`
          : `-${event.ref.name}`,
      )
  }

  problems(): string[] {
    return this.set
      .problems()
      .map(({ file, document, object, path, reason }) =>
        [file, document, object, path, reason].filter((one) => one !== undefined).join(' '),
      )
  }
}

describe('objects of several files', () => {
  test('only real changes are events', () => {
    const harness = new Harness()
    expect(harness.put('a', namespace('x') + namespace('y'))).toEqual(['x=a', 'y=a'])
    expect(harness.put('a', `# a comment\n${namespace('y')}${namespace('x')}`)).toEqual([])
    expect(harness.put('a', namespace('x', 'b'))).toEqual(['-y', 'x=b'])
    expect(harness.delete('a')).toEqual(['-x'])
  })

  test('the first file by path wins; when it goes the other takes over', () => {
    const harness = new Harness()
    expect(harness.put('b', namespace('x', 'b'))).toEqual(['x=b'])
    expect(harness.put('a', namespace('x', 'a'))).toEqual(['x=a'])
    expect(harness.put('c', namespace('x', 'c'))).toEqual([])
    expect(harness.problems()).toEqual([
      'b 1 Namespace//x also in a, which is used',
      'c 1 Namespace//x also in a, which is used',
    ])
    expect(harness.delete('a')).toEqual(['x=b'])
    expect(harness.delete('b')).toEqual(['x=c'])
    expect(harness.problems()).toEqual([])
  })

  test('an invalid object leaves its previous version in force, and everything else goes on', () => {
    const harness = new Harness()
    harness.put('a', namespace('x') + namespace('y'))
    expect(harness.put('a', invalid('x') + namespace('y', 'b'))).toEqual(['y=b'])
    expect(harness.problems()).toEqual([
      'a 1 Namespace//x metadata.labels Invalid input: expected record, received number',
    ])
    expect(harness.put('a', invalid('x') + namespace('y', 'c'))).toEqual(['y=c'])
    expect(harness.put('a', namespace('x', 'd'))).toEqual(['x=d', '-y'])
  })

  test('that also holds when the object moved to another file at the same time', () => {
    const harness = new Harness()
    harness.put('a', namespace('x'))
    harness.set.delete('a')
    harness.set.put('b', parseObjectFile('b', invalid('x')))
    expect(harness.events()).toEqual([])
    expect(harness.delete('b')).toEqual(['-x'])
  })

  test('a file with a syntax error leaves all its objects in force', () => {
    const harness = new Harness()
    harness.put('a', namespace('x') + namespace('y'))
    expect(harness.put('a', `${namespace('x', 'b')}{ apiVersion: `)).toEqual([])
    expect(harness.problems()[0]).toMatch(/^a 2 /)
    expect(harness.put('a', namespace('x', 'c'))).toEqual(['x=c', '-y'])
    expect(harness.problems()).toEqual([])
  })

  test('of a new file with a syntax error the whole documents before it are used', () => {
    const harness = new Harness()
    expect(harness.put('a', `${namespace('x')}{ apiVersion: `)).toEqual(['x=a'])
  })

  test('a file that cannot be read leaves its objects in force', () => {
    const harness = new Harness()
    harness.put('a', namespace('x'))
    harness.set.hold('a', 'EACCES')
    expect(harness.events()).toEqual([])
    expect(harness.problems()).toEqual(['a EACCES'])
  })
})

describe('one file', () => {
  test('lists are taken apart, and faults in them are found', () => {
    const list = `apiVersion: v1\nkind: List\nitems:\n- ${namespace('x').split('\n')[0]}\n- ${invalid('y').split('\n')[0]}\n`
    const file = parseObjectFile('a.yaml', `---\n# nothing\n---\n${list}`)
    expect(file.claims.map(({ key }) => key)).toEqual(['Namespace//x', 'Namespace//y'])
    expect(file.problems).toMatchObject([{ document: 2, path: 'items[1].metadata.labels' }])
  })

  test('JSON is read', () => {
    const file = parseObjectFile(
      'a.json',
      JSON.stringify({ apiVersion: 'v1', kind: 'PodList', items: [] }),
    )
    expect(file).toMatchObject({ claims: [], problems: [], broken: false })
    expect(parseObjectFile('a.json', '{').broken).toBe(true)
  })

  test('kinds that are not used are counted', () => {
    const text =
      '{ apiVersion: apps/v1, kind: Deployment }\n---\n{ apiVersion: apps/v1, kind: Deployment }\n'
    expect([...parseObjectFile('a.yaml', text).unused]).toEqual([['apps/v1 Deployment', 2]])
  })

  test('aliases do not explode', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]']
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'c'],
      ['c', 'd'],
      ['d', 'e'],
      ['e', 'f'],
    ]) {
      bomb.push(`${to}: &${to} [${Array.from({ length: 9 }, () => `*${from}`).join(', ')}]`)
    }
    const file = parseObjectFile('a.yaml', bomb.join('\n'))
    expect(file.broken).toBe(true)
    expect(file.problems[0]?.reason).toMatch(/alias/i)
  })

  test('the same object twice: the first is used, and it is said', () => {
    const file = parseObjectFile('a.yaml', namespace('x', 'a') + namespace('x', 'b'))
    expect(file.claims).toHaveLength(1)
    expect(file.problems).toMatchObject([{ document: 2, object: 'Namespace//x' }])
  })
})
