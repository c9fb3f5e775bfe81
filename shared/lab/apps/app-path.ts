import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

export type AppName = 'http-app' | 'tcp-app'

/** The file of a sample app, for `node FILE`: TypeScript beside sources, JavaScript beside what was built. */
export const appPath = (name: AppName): string =>
  fileURLToPath(new URL(`./${name}${extname(import.meta.url)}`, import.meta.url))
