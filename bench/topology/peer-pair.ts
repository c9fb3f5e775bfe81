import { join } from 'node:path'
import type { LabProcess } from '../../shared/lab/lab-process.ts'
import type { Place } from '../../shared/lab/place.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { APP_PORTS } from '../apps.ts'
import { processTree } from '../process-usage.ts'
import type { Site } from '../site.ts'
import { type Variant, writePeerFile } from './peer-template.ts'
import type { Hop, HopCount, RunningTopology, Topology } from './topology.ts'

/** A program that plays both sides of a pair. */
export interface PairProgram {
  readonly program: 'haproxy' | 'nginx'
  readonly extension: 'cfg' | 'conf'
  /** Arguments for a configuration file; its standard output goes to `logs`. */
  readonly args: (file: string) => readonly string[]
  /** What it has counted so far, asked through a socket in the file system. */
  readonly count: (socketPath: string) => Promise<HopCount>
  /** Whether a process of its own does the work below the one that is started. */
  readonly hasWorker: boolean
}

type Side = 'client' | 'server'

const CLIENT_HOST = '127.0.0.1'
/** The server's side listens there for what goes to an application. */
const TLS_PORT_OFFSET = 10_000
const LISTEN_MS = 10_000

/** A pair of single-process proxies with mutual TLS 1.3 between them, each in the namespace of its pod. */
export function peerPair(pair: PairProgram, variant: Variant): Topology {
  const { program } = pair
  const isFresh = variant.sessions === 'fresh'
  const name = `${program}-mtls-${variant.tuning}${isFresh ? '-fresh' : ''}`
  return {
    name,
    about: `${program} pair, mutual TLS 1.3, ${variant.tuning}, ${isFresh ? 'full handshakes' : 'session reuse'}`,
    family: `${program}-mtls${isFresh ? '-fresh' : ''}`,
    encrypted: true,
    inQuick:
      program === 'haproxy'
        ? !isFresh || variant.tuning === 'tuned'
        : variant.tuning === 'tuned' && !isFresh,
    scope: isFresh ? 'new-connections' : 'all-workloads',
    descriptorsPerConnection: 2,
    bothEndsInOneProcess: false,
    start: async (site) => await startPair(site, pair, variant, name),
  }
}

async function startPair(
  site: Site,
  pair: PairProgram,
  variant: Variant,
  name: string,
): Promise<RunningTopology> {
  const directory = site.directory(name)
  const client = await site.plainPod(`${name}-client`, 0)
  const server = await site.plainPod(`${name}-server`, 1)
  const start = async (side: Side, place: Place): Promise<readonly number[]> => {
    const file = writePeerFile(site, `${pair.program}-${side}.${pair.extension}`, {
      directory,
      variant,
      peer: server.address4,
    })
    const running = spawnLogged(place, pair, file, join(directory, `${side}.log`))
    const port = APP_PORTS.http + (side === 'server' ? TLS_PORT_OFFSET : 0)
    await listening(place, port, running)
    return pidsOf(running, pair)
  }
  const serverPids = await start('server', server)
  const clientPids = await start('client', client)
  const hop = (side: Side): Hop => ({
    name: `${pair.program}, ${side}'s side`,
    read: async () => await pair.count(join(directory, `${side}.sock`)),
  })
  return {
    client,
    server,
    host: () => CLIENT_HOST,
    proxies: [
      { name: `${pair.program}, client's side`, pids: clientPids },
      { name: `${pair.program}, server's side`, pids: serverPids },
    ],
    hops: [hop('client'), hop('server')],
    logs: [join(directory, 'client.log'), join(directory, 'server.log')],
  }
}

function spawnLogged(place: Place, pair: PairProgram, file: string, log: string): LabProcess {
  const script = 'log=$1; shift; exec "$@" >>"$log"'
  const title = `${pair.program} in ${place.name}`
  return place.spawn('sh', ['-c', script, 'sh', log, pair.program, ...pair.args(file)], { title })
}

async function listening(place: Place, port: number, running: LabProcess): Promise<void> {
  try {
    await place.waitForPort(port, LISTEN_MS)
  } catch (error) {
    throw new AmbitError('BENCH_PEER', `${running.title}: ${running.output.slice(-1_000)}`, {
      cause: error,
    })
  }
}

function pidsOf({ pid, title }: LabProcess, { hasWorker }: PairProgram): readonly number[] {
  const pids = pid === undefined ? [] : processTree(pid)
  if (pids.length < (hasWorker ? 2 : 1)) throw new AmbitError('BENCH_PROCESS', `${title} is gone`)
  return pids
}
