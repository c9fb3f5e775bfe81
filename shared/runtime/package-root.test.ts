import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { packageRoot } from './package-root.ts'

test('finds the assets that stand beside the sources', () => {
  expect(existsSync(join(packageRoot(), 'scripts/system-tools.sh'))).toBe(true)
})

test('is the same for sources and for dist', () => {
  const root = mkdtempSync(join(tmpdir(), 'ambit-root-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  mkdirSync(join(root, 'dist/shared/runtime'), { recursive: true })
  writeFileSync(join(root, 'package.json'), '{}')
  expect(packageRoot(join(root, 'dist/shared/runtime/package-root.js'))).toBe(root)
  expect(packageRoot(join(root, 'shared/runtime/package-root.ts'))).toBe(root)
})

test('says so when there is no package around it', () => {
  expect(() => packageRoot('/nowhere/at/all.js')).toThrow(
    'no package.json above /nowhere/at/all.js',
  )
})
