import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

export type LoadApp = 'open-loop-app' | 'idle-app'

/** The file of a load generator, for `node FILE`: TypeScript beside sources, JavaScript beside what was built. */
export const loadPath = (name: LoadApp): string =>
  fileURLToPath(new URL(`./${name}${extname(import.meta.url)}`, import.meta.url))
