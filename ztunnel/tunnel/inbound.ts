import { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { serveHbone } from '../../shared/hbone/server.ts'
import type { HboneServerConnection, IncomingTunnel } from '../../shared/hbone/tunnel.ts'
import type { TlsMaterial } from '../../shared/identity/identity-material.ts'
import { describeHandshakeFailure, verifyClient } from '../../shared/identity/peer.ts'
import { serverTlsOptions } from '../../shared/identity/tls-options.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import { endAddress, formatEndpoint } from '../../shared/runtime/ip-address.ts'
import { formatBaggage, parseForwardedHost } from '../route/headers.ts'
import { routeInbound } from '../route/inbound.ts'
import { forwardToApplication } from './application.ts'
import { ConnectionFailure, drainClose, outcomeOf } from './failure.ts'
import { adopt, HOLD_MS, ownWorkload, type PodContext, within } from './pod-context.ts'
import { createPodMemory } from './pod-memory.ts'

const HANDSHAKE_MS = 10_000

/** The HBONE listener of a pod: who calls is proven by mutual TLS, what for is said by CONNECT. */
export class InboundProxy implements Disposable {
  readonly #pod: PodContext
  readonly #peers = new Set<HboneServerConnection>()
  /** Taken while the connection lives: a socket that is destroyed has no addresses any more. */
  readonly #ends = new WeakMap<Socket, ConnectionEnds>()
  readonly #memory = createPodMemory()
  #tls: Server | undefined
  #draining = false

  constructor(pod: PodContext) {
    this.#pod = pod
  }

  /** HBONE connections that peers hold open. */
  get peers(): number {
    return this.#peers.size
  }

  /** Takes an accepted connection, paused, and holds it until the pod has its certificate. */
  async serve(socket: Socket): Promise<void> {
    const { clock, certificates, identity } = this.#pod
    this.#ends.set(socket, endsOf(socket))
    try {
      adopt(this.#pod, socket)
      const late = (): Error =>
        new ConnectionFailure(
          'CONNECTION_NO_CERTIFICATE',
          'IDENTITY_ERROR',
          'identity error: no certificate yet',
        )
      const material = await within(clock, HOLD_MS, late, (signal) =>
        certificates.certificateFor(identity, signal),
      )
      this.#server(material).emit('connection', socket)
    } catch (error) {
      this.#refuse(socket, error)
      socket.destroy()
    }
  }

  /** After a rotation: new handshakes present the new certificate, open tunnels live on. */
  rekey(material: TlsMaterial): void {
    this.#tls?.setSecureContext(serverTlsOptions(material))
  }

  /**
   * Says GOAWAY on every connection; open tunnels go on. Peers that come back are served: they may not know yet that
   * the pod leaves the mesh.
   */
  shed(): void {
    for (const peer of this.#peers) peer.drain()
  }

  /** The same for good: connections that are still in the handshake take no tunnels either. */
  drain(): void {
    this.#draining = true
    this.shed()
  }

  [Symbol.dispose](): void {
    for (const peer of this.#peers) peer.destroy(drainClose())
    this.#tls?.removeAllListeners()
    this.#tls = undefined
  }

  #server(material: TlsMaterial): Server {
    if (this.#tls !== undefined) return this.#tls
    const server = createServer({ ...serverTlsOptions(material), handshakeTimeout: HANDSHAKE_MS })
    server.on('secureConnection', (tls) => this.#secured(tls))
    server.on('tlsClientError', (error, tls) => {
      const text = `tls error: ${describeHandshakeFailure(error, tls)}`
      this.#refuse(tls, new ConnectionFailure('CONNECTION_TLS', 'TLS_FAILURE', text))
    })
    this.#tls = server
    return server
  }

  #secured(tls: TLSSocket): void {
    tls.on('error', () => undefined)
    const verdict = verifyClient(tls, { trustDomain: this.#pod.trustDomain })
    if (verdict.kind === 'refused') {
      const text = `tls error: ${verdict.text}`
      this.#refuse(tls, new ConnectionFailure('CONNECTION_IDENTITY', 'TLS_FAILURE', text))
      tls.destroy()
      return
    }
    const identity = verdict.id.text
    // The peer may be gone already, and then there is nothing to serve.
    if (tls.destroyed) return
    const { log, clock } = this.#pod
    const peer = serveHbone(tls, (tunnel) => void this.#serveTunnel(tunnel, tls, identity), {
      log,
      clock,
      memory: this.#memory,
    })
    this.#peers.add(peer)
    if (this.#draining) peer.drain()
    void peer.closed.then(() => this.#peers.delete(peer))
  }

  async #serveTunnel(tunnel: IncomingTunnel, tls: TLSSocket, identity: string): Promise<void> {
    const accepted = this.#pod.clock.monotonicMs()
    const { authority, headers } = tunnel.request
    let release: (() => void) | undefined
    try {
      await within(this.#pod.clock, HOLD_MS, noRoom, (signal) => this.#pod.gate.room(signal))
      release = this.#pod.gate.take(1)
      const workload = await ownWorkload(this.#pod)
      const route = routeInbound({
        method: tunnel.method,
        authority,
        connection: { localAddress: endAddress(tls.localAddress) },
        localWorkload: workload,
        mesh: this.#pod.mesh,
        forwardedHost: parseForwardedHost(headers['forwarded']),
      })
      if (route.kind === 'refuse') {
        tunnel.refuse(route.status)
        this.#refuse(tls, new ConnectionFailure(route.code, 'CONNECT', route.error))
        return
      }
      await forwardToApplication(this.#pod, {
        accepted,
        sourceIp: endAddress(tls.remoteAddress),
        sourcePort: tls.remotePort ?? 0,
        identity,
        workload,
        service: route.service,
        target: { address: route.address, port: route.port },
        hboneAddress: authority,
        headers,
        gone: tunnel.gone,
        refuse: (status) => tunnel.refuse(status),
        accept: () => tunnel.accept({ baggage: formatBaggage(workload) }),
      })
    } catch (error) {
      tunnel.refuse(503)
      this.#refuse(tls, error)
    } finally {
      release?.()
    }
  }

  #refuse(socket: Socket, error: unknown): void {
    const outcome = outcomeOf(error)
    const { source, destination } = this.#ends.get(acceptedSocket(socket)) ?? endsOf(socket)
    this.#pod.telemetry.refused({
      direction: 'inbound',
      sourceAddress: source,
      destinationAddress: destination,
      workload: `${this.#pod.workloadNamespace}/${this.#pod.name}`,
      error: outcome.error ?? describeError(error),
      flag: outcome.flag,
    })
  }
}

interface ConnectionEnds {
  readonly source: string
  readonly destination: string
}

const endsOf = (socket: Socket): ConnectionEnds => ({
  source: endOf(socket.remoteAddress, socket.remotePort),
  destination: endOf(socket.localAddress, socket.localPort),
})

/** What a TLS server wrapped, which Node has but does not publish. */
function acceptedSocket(socket: Socket): Socket {
  const inner: unknown = Reflect.get(socket, '_parent')
  return inner instanceof Socket ? inner : socket
}

const endOf = (address: string | undefined, port: number | undefined): string =>
  formatEndpoint(endAddress(address), port ?? 0)

const noRoom = (): Error =>
  new ConnectionFailure('CONNECTION_NO_ROOM', 'CONNECT', 'the descriptor limit is reached')
