import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { descriptorLimit } from '../../shared/linux/descriptors.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { SERVER_NAME } from '../peer-certificates.ts'
import type { Site } from '../site.ts'

/** How a proxy that ambit is compared with is set up. */
export interface Variant {
  /** `tuned`: 64 KiB buffers, splice, no logs. */
  readonly tuning: 'stock' | 'tuned'
  /** Whether the pair resumes TLS sessions (`reuse`) or makes a full handshake for each connection (`fresh`). */
  readonly sessions: 'reuse' | 'fresh'
}

export const VARIANTS: readonly Variant[] = [
  { tuning: 'stock', sessions: 'reuse' },
  { tuning: 'tuned', sessions: 'reuse' },
  { tuning: 'stock', sessions: 'fresh' },
  { tuning: 'tuned', sessions: 'fresh' },
]

/** Descriptors that a proxy has beside those of connections; two for each pipe of HAProxy's splicing. */
const OWN_DESCRIPTORS = 1_500
const MOST_DESCRIPTORS = 60_000

/** As the templates in `bench/peers` have their lines: `[variant]` before a line, `@NAME@` for what is filled in. */
export function renderTemplate(
  template: string,
  variant: Variant,
  values: Readonly<Record<string, string>>,
): string {
  const kept = template.split('\n').flatMap((line) => {
    const match = /^\s*\[(stock|tuned|reuse|fresh)\] (.*)$/.exec(line)
    if (match === null) return [line]
    return match[1] === variant.tuning || match[1] === variant.sessions ? [match[2] ?? ''] : []
  })
  return kept
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replaceAll(/@([A-Z_]+)@/g, (_, name: string) => {
      const value = values[name]
      if (value === undefined) throw new AmbitError('BENCH_TEMPLATE', `no value for @${name}@`)
      return value
    })
}

/** Writes the configuration of one side to `directory`; gives its path. */
export function writePeerFile(
  site: Site,
  file: string,
  options: { readonly directory: string; readonly variant: Variant; readonly peer: string },
): string {
  const { directory, variant, peer } = options
  const { ca, client, server } = site.certificates()
  const descriptors = Math.min(descriptorLimit(), MOST_DESCRIPTORS) - OWN_DESCRIPTORS
  const template = readFileSync(join(packageRoot(), 'bench', 'peers', file), 'utf8')
  const path = join(directory, file)
  writeFileSync(
    path,
    renderTemplate(template, variant, {
      DIRECTORY: directory,
      PEER: peer,
      CA: ca,
      CLIENT_CERTIFICATE: client.certificate,
      CLIENT_KEY: client.key,
      CLIENT_BUNDLE: client.bundle,
      SERVER_CERTIFICATE: server.certificate,
      SERVER_KEY: server.key,
      SERVER_BUNDLE: server.bundle,
      SERVER_NAME,
      MAX_DESCRIPTORS: String(descriptors),
      MAX_CONNECTIONS: String(Math.floor(descriptors / 2)),
    }),
  )
  return path
}
