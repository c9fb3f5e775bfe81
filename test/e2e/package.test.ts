import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packageRoot } from '../../shared/runtime/package-root.ts'

const run = promisify(execFile)
const NOT_SOURCES: ReadonlySet<string> = new Set(['node_modules', 'dist', '.git'])

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambit-package-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe('the npm package', () => {
  test('installed in an empty folder, runs the demo and its checks', async () => {
    // Packing builds, and must not write where another run reads.
    const sources = join(folder, 'sources')
    const filter = (path: string) => !NOT_SOURCES.has(basename(path))
    await cp(packageRoot(), sources, { recursive: true, filter })
    await symlink(join(packageRoot(), 'node_modules'), join(sources, 'node_modules'))
    const empty = join(folder, 'empty')
    await mkdir(empty)
    await run('npm', ['pack', '--pack-destination', empty], { cwd: sources })
    const [tarball = ''] = await readdir(empty)
    await writeFile(join(empty, 'package.json'), '{ "name": "empty", "private": true }\n')
    await run('npm', ['install', '--no-audit', '--no-fund', `./${tarball}`], { cwd: empty })
    const main = join(empty, 'node_modules/ambit-mesh/dist/cli/main.js')
    const { stdout } = await run(process.execPath, [main, 'demo', '--check'], { cwd: empty })
    expect(stdout).toContain('encrypted on the wire')
    expect(stdout).not.toContain('FAIL')
  })
})
