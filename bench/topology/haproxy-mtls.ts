import { createConnection } from 'node:net'
import { text } from 'node:stream/consumers'
import { peerPair } from './peer-pair.ts'
import { VARIANTS } from './peer-template.ts'
import type { HopCount, Topology } from './topology.ts'

const TIMEOUT_MS = 5_000

/** Pairs of HAProxy with one thread each. */
export const haproxyPairs: readonly Topology[] = VARIANTS.map((variant) =>
  peerPair(
    {
      program: 'haproxy',
      extension: 'cfg',
      args: (file) => ['-db', '-f', file],
      count: async (socketPath) => parseHaproxyStatistics(await askHaproxy(socketPath)),
      hasWorker: false,
    },
    variant,
  ),
)

async function askHaproxy(socketPath: string): Promise<string> {
  const socket = createConnection(socketPath)
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer from ${socketPath}`)))
  socket.write('show stat\n')
  return await text(socket)
}

/** Sums the frontends of `show stat`: a table with commas whose first line names the columns. */
export function parseHaproxyStatistics(csv: string): HopCount {
  const [head = '', ...lines] = csv.split('\n')
  const columns = head.replace(/^# /, '').split(',')
  let connections = 0
  let bytes = 0
  for (const line of lines) {
    const fields = line.split(',')
    const field = (name: string): string => fields[columns.indexOf(name)] ?? ''
    if (field('svname') !== 'FRONTEND') continue
    connections += Number(field('stot'))
    bytes += Number(field('bin')) + Number(field('bout'))
  }
  return { connections, bytes }
}
