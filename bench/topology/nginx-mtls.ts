import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { peerPair } from './peer-pair.ts'
import { VARIANTS } from './peer-template.ts'
import type { HopCount, Topology } from './topology.ts'

const TIMEOUT_MS = 5_000

/** Pairs of nginx with one worker each. */
export const nginxPairs: readonly Topology[] = VARIANTS.map((variant) =>
  peerPair(
    {
      program: 'nginx',
      extension: 'conf',
      args: (file) => ['-c', file],
      count: async (socketPath) => parseStubStatus(await askNginx(socketPath)),
      hasWorker: true,
    },
    variant,
  ),
)

function askNginx(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = get({ socketPath, path: '/', timeout: TIMEOUT_MS, agent: false })
    call.on('timeout', () => call.destroy(new Error(`no answer from ${socketPath}`)))
    call.on('error', reject)
    call.on('response', (response) => void text(response).then(resolve, reject))
  })
}

/** The page of `stub_status`: it counts the connections of all listeners, streams and its own, but no bytes. */
export function parseStubStatus(page: string): HopCount {
  const accepted = /accepts handled requests\s+(\d+)/.exec(page)?.[1]
  if (accepted === undefined)
    throw new AmbitError('BENCH_HOP', `not a status page: ${page.slice(0, 200)}`)
  return { connections: Number(accepted), bytes: undefined }
}
