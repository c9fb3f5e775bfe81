import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Channel } from '../../shared/hbone/channel.ts'
import { connectHbone } from '../../shared/hbone/client.ts'
import type { HboneClientConnection } from '../../shared/hbone/tunnel.ts'
import { describeHandshakeFailure } from '../../shared/identity/peer.ts'
import { clientTlsOptions } from '../../shared/identity/tls-options.ts'
import { formatEndpoint } from '../../shared/runtime/ip-address.ts'
import { dial, type Target } from './dial.ts'
import { ConnectionFailure } from './failure.ts'
import { HOLD_MS, type PodContext, within } from './pod-context.ts'
import { createPodMemory } from './pod-memory.ts'
import { TunnelPool } from './pool.ts'

/** Streams in one HBONE connection, before another one is opened. */
const MAX_STREAMS = 100
const HANDSHAKE_MS = 10_000

export interface TunnelTarget {
  /** Where the peer's HBONE listener is. */
  readonly target: Target
  readonly authority: string
  /** SPIFFE ids; the peer must prove one of them. */
  readonly expectedIdentities: readonly string[]
}

interface PeerKey extends Omit<TunnelTarget, 'authority'> {
  readonly id: string
}

/** The HBONE connections that one pod opens, shared by its user connections to the same peer. */
export class Tunnels implements Disposable {
  readonly #pod: PodContext
  readonly #pool: TunnelPool<PeerKey>
  readonly #memory = createPodMemory()

  constructor(pod: PodContext) {
    this.#pod = pod
    this.#pool = new TunnelPool({
      connect: (key, signal) => this.#connect(key, signal),
      maxStreams: MAX_STREAMS,
      idleMs: pod.settings.poolIdleMs,
      clock: pod.clock,
      log: pod.log,
    })
  }

  async open(
    peer: TunnelTarget,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Channel> {
    const { target, expectedIdentities } = peer
    const where = formatEndpoint(target.address, target.port)
    const id = `${where} ${expectedIdentities.join(' ')}`
    const request = { authority: peer.authority, headers }
    const { tunnel } = await this.#pool.open({ id, target, expectedIdentities }, request, signal)
    return tunnel.channel
  }

  /** After a rotation: connections with the old certificate take no more tunnels. */
  rekey(): void {
    this.#pool.rekey()
  }

  get connections(): number {
    return this.#pool.connections
  }

  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]()
  }

  async #connect(key: PeerKey, signal: AbortSignal): Promise<HboneClientConnection> {
    const { clock, certificates, identity, namespace, log } = this.#pod
    const material = await within(clock, HOLD_MS, noCertificate, async (budget) =>
      certificates.certificateFor(identity, AbortSignal.any([signal, budget])),
    )
    const socket = await dial(namespace, key.target, { clock, signal }).catch((error: unknown) => {
      throw tunnelFailure(error)
    })
    const tls = connectTls({
      ...clientTlsOptions(material, key.expectedIdentities),
      socket,
    })
    await within(clock, HANDSHAKE_MS, handshakeLate, (budget) =>
      secured(tls, AbortSignal.any([signal, budget])),
    )
    const memory = this.#memory
    return await connectHbone(tls, { log, clock, memory, handshakeTimeoutMs: HANDSHAKE_MS })
  }
}

const noCertificate = (): Error =>
  new ConnectionFailure(
    'CONNECTION_NO_CERTIFICATE',
    'IDENTITY_ERROR',
    'identity error: no certificate yet',
  )

const handshakeLate = (): Error =>
  new ConnectionFailure(
    'CONNECTION_TLS_TIMEOUT',
    'TLS_FAILURE',
    'tls error: handshake took too long',
  )

/** A connect to the HBONE port that times out is most often a firewall's doing, and the log says so. */
function tunnelFailure(error: unknown): unknown {
  if (!(error instanceof ConnectionFailure) || error.code !== 'CONNECTION_TIMEOUT') return error
  return new ConnectionFailure(
    error.code,
    'NETWORK_POLICY',
    `connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: ${error.message}`,
  )
}

function secured(tls: TLSSocket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (failure: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      tls.off('secureConnect', onSecure)
      tls.off('error', onError)
      tls.off('close', onClose)
      if (failure === undefined) {
        resolve()
        return
      }
      tls.on('error', () => undefined)
      tls.destroy()
      reject(failure)
    }
    const onSecure = (): void => settle(undefined)
    const onError = (error: Error): void =>
      settle(tlsFailure(describeHandshakeFailure(error), error))
    const onClose = (): void => settle(tlsFailure('connection closed during the handshake'))
    const onAbort = (): void => settle(signal.reason)
    tls.once('secureConnect', onSecure)
    tls.once('error', onError)
    tls.once('close', onClose)
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
}

const tlsFailure = (text: string, cause?: Error): ConnectionFailure =>
  new ConnectionFailure('CONNECTION_TLS', 'TLS_FAILURE', `tls error: ${text}`, { cause })
