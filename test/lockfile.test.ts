import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { packageRoot } from '../shared/runtime/package-root.ts'

const Lock = z.object({
  packages: z.record(
    z.string(),
    z.object({ optionalDependencies: z.record(z.string(), z.string()).optional() }),
  ),
})

test('the lockfile names the optional packages of all platforms, or npm ci refuses it', () => {
  const text = readFileSync(join(packageRoot(), 'package-lock.json'), 'utf8')
  const { packages } = Lock.parse(JSON.parse(text))
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => {
      const nested = `${path}/node_modules/${name}`
      return packages[`node_modules/${name}`] === undefined && packages[nested] === undefined
    }),
  )
  expect(missing).toEqual([])
})
