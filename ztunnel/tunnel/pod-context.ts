import type { Socket } from 'node:net'
import type { TlsMaterial } from '../../shared/identity/identity-material.ts'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { fdOf, setKeepAlive } from '../../shared/linux/sockets.ts'
import type { Workload } from '../../shared/mesh/model.ts'
import type { MeshStore } from '../../shared/mesh/store.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { ConnectionTelemetry, Party } from '../../shared/telemetry/connection-record.ts'
import type { DescriptorGate } from '../capture/descriptor-gate.ts'
import type { OpenConnections } from './connections.ts'
import { KEEPALIVE } from './dial.ts'
import { ConnectionFailure } from './failure.ts'

/** Where connections get their pod's certificate. */
export interface PodCertificates {
  /** The one in force, or the next one issued. Waits as long as `signal` lets it, and rejects with its reason. */
  certificateFor(identity: string, signal: AbortSignal): Promise<TlsMaterial>
}

/** What a worker has once, for all pods. */
export interface NodeContext {
  readonly mesh: MeshStore
  readonly certificates: PodCertificates
  readonly telemetry: ConnectionTelemetry
  readonly gate: DescriptorGate
  readonly clock: Clock
  readonly log: Log
  readonly settings: {
    readonly network: string
    readonly node: string
    /** How long an HBONE connection without tunnels is kept, in milliseconds. */
    readonly poolIdleMs: number
  }
}

/** One captured pod, as the parts that move its bytes see it. */
export interface PodContext extends NodeContext {
  readonly uid: string
  readonly name: string
  readonly workloadNamespace: string
  /** SPIFFE identity. */
  readonly identity: string
  readonly trustDomain: string
  readonly namespace: NetworkNamespace
  readonly connections: OpenConnections
}

/** How long a connection waits for what its pod still lacks: its own workload, or its certificate. */
export const HOLD_MS = 5_000

/** No connection is in the making for longer than this: connect, handshake and the peer's connect included. */
export const SETUP_MS = 30_000

/** The pod's own workload, waiting up to five seconds for it to arrive. */
export async function ownWorkload(pod: PodContext): Promise<Workload> {
  const known = pod.mesh.workloadByUid(pod.uid)
  if (known !== undefined) return known
  return await new Promise((resolve, reject) => {
    const timer = pod.clock.after(HOLD_MS, () => {
      stopListening()
      const message = `failed to fetch information about local workload: ${pod.workloadNamespace}/${pod.name}`
      reject(new ConnectionFailure('CONNECTION_NO_WORKLOAD', 'CONNECT', message))
    })
    const stopListening = pod.mesh.onChange((change) => {
      if (!change.workloads.has(pod.uid)) return
      const workload = pod.mesh.workloadByUid(pod.uid)
      if (workload === undefined) return
      stopListening()
      timer.cancel()
      resolve(workload)
    })
  })
}

/** Runs `work` with a signal that aborts after `ms`; the timer never outlives the work. */
export async function within<T>(
  clock: Clock,
  ms: number,
  late: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const timer = clock.after(ms, () => controller.abort(late()))
  try {
    return await work(controller.signal)
  } finally {
    timer.cancel()
  }
}

/**
 * What every accepted socket gets first: a listener for errors, keepalive, and its share of descriptors, which is that
 * of the socket and of one towards the other side.
 */
export function adopt(pod: PodContext, socket: Socket): void {
  socket.on('error', () => undefined)
  socket.once('close', pod.gate.take(2))
  setKeepAlive(fdOf(socket), KEEPALIVE)
}

export const partyOf = (workload: Workload | undefined, identity: string | undefined): Party => ({
  workload,
  identity,
})
