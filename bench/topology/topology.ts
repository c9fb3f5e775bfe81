import type { Place } from '../../shared/lab/place.ts'
import type { App } from '../apps.ts'
import type { Site } from '../site.ts'

/** One way from a client to a server, to be compared with the others. A new one is a file here and a line in the catalogue. */
export interface Topology {
  /** Unique; `--only` selects by its beginning. */
  readonly name: string
  readonly about: string
  /** Variants of one thing share it; the best of a family is what it is judged by. */
  readonly family: string
  /** Whether what passes between the nodes or pods must be unreadable there. */
  readonly encrypted: boolean
  readonly inQuick: boolean
  /** `new-connections`: differs from a sibling in handshakes only, so other workloads would measure the same again. */
  readonly scope: 'all-workloads' | 'new-connections'
  /** The most that any one process holds, or sets aside, for a connection. */
  readonly descriptorsPerConnection: 1 | 2 | 4
  readonly bothEndsInOneProcess: boolean
  start(site: Site): Promise<RunningTopology>
}

export interface RunningTopology {
  /** Where load is made. */
  readonly client: Place
  /** Where the applications run. */
  readonly server: Place
  /** What a client connects to for an application of the server. */
  host(app: App): string
  /** In the order of the path. */
  readonly proxies: readonly Proxy[]
  readonly hops: readonly Hop[]
  /** Files that grow with traffic and are emptied between runs. */
  readonly logs: readonly string[]
}

/** A proxy by its processes, a worker and its master. */
export interface Proxy {
  readonly name: string
  readonly pids: readonly number[]
}

/** A station of the path that counts what passes. */
export interface Hop {
  readonly name: string
  read(): Promise<HopCount>
}

/** Since the start of the program. */
export interface HopCount {
  readonly connections: number
  /** Both ways; undefined where the program does not count them. */
  readonly bytes: number | undefined
}
