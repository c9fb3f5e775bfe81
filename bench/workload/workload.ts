import type { App } from '../apps.ts'
import type { Better } from '../statistics.ts'
import type { RunningTopology, Topology } from '../topology/topology.ts'

/** One kind of load. A new one is a file here and a line in the catalogue. */
export interface Workload {
  /** Unique; `--only` selects by its beginning. */
  readonly name: string
  readonly about: string
  readonly apps: readonly App[]
  readonly figure: Figure
  readonly inQuick: boolean
  /** Opens connections all the time, so that handshakes count. */
  readonly opensConnections: boolean
  /** Measures proxies, so that a path without them has nothing to measure. */
  readonly needsProxies: boolean
  /** `one`: takes long and does not vary. */
  readonly rounds: 'all' | 'one'
  /** Ends by itself soon after `durationMs`; throws when nothing could be measured. */
  run(context: RunContext): Promise<Outcome>
}

/** The number that a workload is about. */
export interface Figure {
  readonly name: string
  readonly unit: string
  readonly better: Better
}

export interface RunContext {
  readonly topology: Topology
  readonly running: RunningTopology
  readonly durationMs: number
  readonly quick: boolean
}

export interface Outcome {
  /** In the unit of the figure. */
  readonly value: number
  /** How long the load lasted. */
  readonly seconds: number
  readonly requests?: number
  /** Of payload. */
  readonly bytes?: number
  readonly latencyMs?: Latency
  /** Requests or connections that failed. */
  readonly errors: number
  /** What a reader has to know of this run. */
  readonly notes?: readonly string[]
}

export interface Latency {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
}
