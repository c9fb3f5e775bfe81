import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

const LOW = ['shared/runtime', 'shared/proto']
const SHARED = [
  ...LOW,
  ...'linux hbone identity authz telemetry'.split(' ').map((it) => `shared/${it}`),
]
const FOR_PROGRAMS = [...SHARED, 'shared/mesh', 'shared/xds']

/** Who may import whom; ARCHITECTURE.md says the same in words. A new room has to be entered here. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'shared/runtime': [],
  'shared/proto': [],
  'shared/linux': LOW,
  'shared/hbone': LOW,
  'shared/identity': LOW,
  'shared/authz': LOW,
  'shared/telemetry': LOW,
  'shared/mesh': [...LOW, 'shared/identity', 'shared/authz', 'shared/telemetry'],
  'shared/xds': SHARED,
  'shared/lab': SHARED,
  ztunnel: FOR_PROGRAMS,
  controlplane: FOR_PROGRAMS,
  demo: [...FOR_PROGRAMS, 'shared/lab'],
  bench: [...FOR_PROGRAMS, 'shared/lab'],
  cli: [...FOR_PROGRAMS, 'shared/lab'],
}

const ROOMS = Object.keys(MAY_IMPORT)

const INNER = [
  'ztunnel/enroll',
  'ztunnel/tunnel',
  'ztunnel/route',
  'controlplane/kinds',
  'controlplane/source',
  'controlplane/compile',
  'controlplane/ca',
  'controlplane/xds',
]

/** The rooms of each library, outer and inner; everywhere else it is refused. */
const LIBRARY_ROOMS: Readonly<Record<string, string>> = {
  zod: 'shared/runtime shared/lab ztunnel ztunnel/enroll controlplane controlplane/kinds controlplane/source controlplane/ca controlplane/xds demo bench cli',
  yaml: 'shared/lab demo controlplane/source',
  'node-forge': 'shared/identity controlplane/ca',
  '@grpc/grpc-js':
    'shared/proto shared/identity shared/xds ztunnel ztunnel/enroll controlplane controlplane/ca controlplane/xds',
  'prom-client': 'shared/telemetry',
  pino: 'shared/runtime',
  koffi: 'shared/linux',
  'node:http2': 'shared/hbone',
  commander: 'cli',
  jose: 'controlplane/ca',
}

const PURE = ['ztunnel/route', 'controlplane/compile']

let folder: string
let config: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambit-layers-'))
  const parsed = JSON.parse(readFileSync(join(root, '.oxlintrc.json'), 'utf8')) as object
  config = JSON.stringify({ ...parsed, options: { typeAware: false } })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

type Files = Readonly<Record<string, string>>

/** Lints planted files under the project's own rules; `file -> rules that refuse it`. */
function lint(name: string, files: Files): Map<string, Set<string>> {
  const base = join(folder, name)
  for (const [path, text] of Object.entries({ '.oxlintrc.json': config, ...files })) {
    mkdirSync(dirname(join(base, path)), { recursive: true })
    writeFileSync(join(base, path), text)
  }
  const run = spawnSync(join(root, 'node_modules/.bin/oxlint'), ['-f', 'json'], {
    cwd: base,
    encoding: 'utf8',
  })
  const { diagnostics, number_of_files } = JSON.parse(run.stdout) as {
    diagnostics: { code: string; filename: string }[]
    number_of_files: number
  }
  // A linter that looked at nothing would find nothing.
  const planted = Object.keys(files).length
  expect(number_of_files).toBeGreaterThanOrEqual(planted)
  const found = new Map<string, Set<string>>()
  for (const { code, filename } of diagnostics) {
    const rules = found.get(filename) ?? new Set()
    found.set(filename, rules.add(code.replace(/^.*\((.*)\)$/, '$1')))
  }
  return found
}

const fileName = (text: string): string => text.replaceAll(/[^a-z0-9]+/g, '-').replace(/^-/, '')

const importOf = (from: string, to: string): string => {
  const path = relative(from, to)
  return `export { planted } from '${path.startsWith('.') ? path : `./${path}`}/planted.ts'\n`
}

describe('layers', () => {
  test('every room of the tree has its rule', () => {
    const folders = (path: string) =>
      readdirSync(join(root, path), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name)
    const shared = folders('shared').map((name) => `shared/${name}`)
    const outside = ['shared', 'test', 'deploy', 'scripts', 'docs', 'dist', 'coverage']
    const top = folders('.').filter((it) => !/^\.|node_modules/.test(it) && !outside.includes(it))
    for (const room of [...shared, ...top]) expect(ROOMS).toContain(room)
  })

  test('a room imports what stands below it and nothing else', () => {
    const files: Record<string, string> = {}
    const refused: string[] = []
    for (const from of ROOMS) {
      for (const to of [...ROOMS, 'waypoint', 'test']) {
        if (to === from) continue
        const path = `${from}/to-${fileName(to)}.ts`
        files[path] = importOf(from, to)
        if (!MAY_IMPORT[from]?.includes(to)) refused.push(path)
      }
    }
    const found = lint('rooms', files)
    expect([...found.keys()].toSorted()).toEqual(refused.toSorted())
    for (const rules of found.values()) expect([...rules]).toEqual(['no-restricted-imports'])
  })

  test('the rules hold for types, dynamic imports and deeper folders', () => {
    const found = lint('forms', {
      'ztunnel/tunnel/type.ts': `import type { A } from '../../controlplane/a.ts'\nexport type B = A\n`,
      'ztunnel/enroll/late.ts': `export const late = () => import('../../controlplane/a.ts')\n`,
      'ztunnel/enroll/inline.ts': `export type B = import('../../controlplane/a.ts').A\n`,
      'controlplane/xds/up.ts': `export * from '../../ztunnel/main.ts'\n`,
      'shared/lab/apps/app.ts': `export * from '../../mesh/store.ts'\n`,
    })
    expect([...found.keys()]).toHaveLength(5)
  })

  test('the cli imports of a program its main, settings and commands only', () => {
    const found = lint('cli', {
      'cli/main.ts': `export const start = () => import('../ztunnel/main.ts')\n`,
      'cli/token.ts': `export { a } from '../controlplane/commands/token.ts'\nexport { b } from '../ztunnel/settings.ts'\n`,
      'cli/deep.ts': `export { a } from '../ztunnel/tunnel/pool.ts'\n`,
      'cli/demo.ts': `export { a } from '../demo/shop.ts'\n`,
    })
    expect([...found.keys()].toSorted()).toEqual(['cli/deep.ts', 'cli/demo.ts'])
  })

  test('a library is imported in its own rooms only', () => {
    const files: Record<string, string> = {}
    const refused: string[] = []
    for (const [library, allowed] of Object.entries(LIBRARY_ROOMS)) {
      for (const room of [...ROOMS, ...INNER]) {
        const path = `${room}/with-${fileName(library)}.ts`
        files[path] = `import * as library from '${library}'\nexport const planted = library\n`
        if (!allowed.split(' ').includes(room)) refused.push(path)
      }
    }
    const found = lint('libraries', files)
    expect([...found.keys()].toSorted()).toEqual(refused.toSorted())
  })
})

describe('pure rooms', () => {
  const impure: Readonly<Record<string, [text: string, rule: string]>> = {
    fs: [`export { readFileSync } from 'node:fs'\n`, 'no-restricted-imports'],
    net: [`export { connect } from 'node:net'\n`, 'no-restricted-imports'],
    log: [`export type { Log } from '../../shared/runtime/log.ts'\n`, 'no-restricted-imports'],
    kernel: [`export { a } from '../../shared/linux/a.ts'\n`, 'no-restricted-imports'],
    library: [`export { z } from 'zod'\n`, 'no-restricted-imports'],
    layer: [`export { a } from '../../cli/main.ts'\n`, 'no-restricted-imports'],
    timer: [`export const a = () => setTimeout(() => 1, 1)\n`, 'no-restricted-globals'],
    clock: [`export const a = () => Date.now()\n`, 'no-restricted-globals'],
    random: [`export const a = () => Math.random()\n`, 'no-restricted-properties'],
    environment: [`export const a = () => process.env\n`, 'no-restricted-properties'],
  }

  test.for(PURE)('%s has no I/O, clock, randomness or log of its own', (room) => {
    const files = Object.entries(impure).map(([name, [text]]) => [`${room}/${name}.ts`, text])
    const found = lint(fileName(room), Object.fromEntries(files) as Files)
    for (const [name, [, rule]] of Object.entries(impure)) {
      expect([...(found.get(`${room}/${name}.ts`) ?? [])], name).toContain(rule)
    }
  })

  test('hashing, address syntax, errors and tests stay possible', () => {
    const found = lint('pure-control', {
      'ztunnel/route/address.ts': `import { isIP } from 'node:net'\nexport const a = isIP('::')\n`,
      'ztunnel/route/error.ts': `export { AmbitError } from '../../shared/runtime/errors.ts'\n`,
      'ztunnel/route/address.test.ts': `import { readFileSync } from 'node:fs'\nexport const a = [readFileSync, Date.now()]\n`,
      'controlplane/compile/hash.ts': `import { createHash } from 'node:crypto'\nexport const a = createHash\n`,
      'controlplane/compile/encode.ts': `export { Address } from '../../shared/proto/generated/workload.ts'\n`,
    })
    expect([...found.keys()]).toEqual([])
  })
})

describe('everywhere', () => {
  test('cycles are refused, of types too', () => {
    const found = lint('cycles', {
      'ztunnel/a.ts': `import { b } from './b.ts'\nexport const a = () => b\n`,
      'ztunnel/b.ts': `import { a } from './a.ts'\nexport const b = () => a\n`,
      'ztunnel/c.ts': `import type { D } from './d.ts'\nexport interface C { readonly d: D }\n`,
      'ztunnel/d.ts': `import type { C } from './c.ts'\nexport interface D { readonly c: C }\n`,
      'ztunnel/e.ts': `import { b } from './b.ts'\nexport const e = b\n`,
    })
    expect([...found.keys()].toSorted()).toEqual('abcd'.split('').map((it) => `ztunnel/${it}.ts`))
    for (const rules of found.values()) expect([...rules]).toEqual(['no-cycle'])
  })

  test('only a main.ts and the cli read the environment and end the process', () => {
    const text = `export const a = () => { if (process.env['A']) process.exit(1) }\n`
    const found = lint('process', {
      'ztunnel/main.ts': text,
      'cli/ztunnel.ts': text,
      'ztunnel/tunnel/pool.ts': text,
      'shared/xds/delta-client.ts': text,
    })
    expect([...found.keys()].toSorted()).toEqual([
      'shared/xds/delta-client.ts',
      'ztunnel/tunnel/pool.ts',
    ])
    for (const rules of found.values()) expect([...rules]).toEqual(['no-restricted-properties'])
  })

  test('the rules of style bite', () => {
    const found = lint('style', {
      'ztunnel/any.ts': `export const a = (b: any) => b\n`,
      'ztunnel/print.ts': `console.log(1)\n`,
      'ztunnel/by-default.ts': `export default 1\n`,
      'ztunnel/camelCase.ts': `export const a = 1\n`,
      'ztunnel/bare.ts': `export { join } from 'path'\n`,
      'ztunnel/long.ts': `${'export const a = 1\n'.replace('a', 'long')}${Array.from({ length: 400 }, (_, at) => `export const v${at} = 1\n`).join('')}`,
    })
    const rules = Object.fromEntries([...found].map(([file, codes]) => [file, [...codes]]))
    expect(rules).toEqual({
      'ztunnel/any.ts': ['no-explicit-any'],
      'ztunnel/print.ts': ['no-console'],
      'ztunnel/by-default.ts': ['no-default-export'],
      'ztunnel/camelCase.ts': ['filename-case'],
      'ztunnel/bare.ts': ['prefer-node-protocol'],
      'ztunnel/long.ts': ['max-lines'],
    })
  })
})
