import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AmbitError } from './errors.ts'

/**
 * The folder of this package: the nearest above this file that has a package.json. What is not TypeScript
 * (`deploy/samples`, `scripts/system-tools.sh`) stands at the same place below it whether the sources run or `dist`.
 */
export function packageRoot(from: string = fileURLToPath(import.meta.url)): string {
  let folder = dirname(from)
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder)
    if (parent === folder) {
      throw new AmbitError('PACKAGE_ROOT', `no package.json above ${from}`)
    }
    folder = parent
  }
  return folder
}
