import { once } from 'node:events'
import type { Socket } from 'node:net'
import { createServer, type TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { describeHandshakeFailure } from '../shared/identity/peer.ts'
import type { Clock, Timer } from '../shared/runtime/clock.ts'
import { AmbitError, describeError } from '../shared/runtime/errors.ts'
import { endAddress, formatEndpoint } from '../shared/runtime/ip-address.ts'
import type { Component } from '../shared/runtime/lifecycle.ts'
import type { Log } from '../shared/runtime/log.ts'
import type { HostPort } from '../shared/runtime/settings.ts'
import type { ServerCertificate } from './ca/authority.ts'

export interface GrpcEndpointOptions {
  readonly listen: HostPort
  /** A new certificate under the names of this server. */
  readonly issue: () => ServerCertificate
  /** Registers the services. */
  readonly serve: (server: Server) => void
  /** Ends what is open, so that the server can close. */
  readonly endStreams: () => void
  readonly clock: Clock
  readonly log: Log
}

const LARGEST_REQUEST_BYTES = 64 * 1024 * 1024
const MOST_STREAMS_OF_CONNECTION = 1_000
const HANDSHAKE_MS = 10_000
/** After a failed renewal. */
const RETRY_MS = 60_000

/**
 * The port of xDS, certificates and enrollment: gRPC over TLS 1.3, under a certificate that is renewed at half life.
 * TLS is ended here, not in grpc-js, which keeps failed handshakes to itself.
 */
export class GrpcEndpoint implements Component {
  readonly name = 'grpc'
  readonly #options: GrpcEndpointOptions
  readonly #server: Server
  #tls: TlsServer | undefined
  readonly #sockets = new Set<Socket>()
  #renewal: Timer | undefined
  #port: number

  constructor(options: GrpcEndpointOptions) {
    this.#options = options
    this.#port = options.listen.port
    this.#server = new Server({
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.max_receive_message_length': LARGEST_REQUEST_BYTES,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': MOST_STREAMS_OF_CONNECTION,
    })
    options.serve(this.#server)
  }

  /** The port in use, once started. */
  get port(): number {
    return this.#port
  }

  async start(): Promise<void> {
    const { listen, issue, clock } = this.#options
    const certificate = issue()
    const tls = createServer({
      ...tlsOptionsOf(certificate),
      handshakeTimeout: HANDSHAKE_MS,
      noDelay: true,
    })
    this.#tls = tls
    tls.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    const grpc = this.#server.createConnectionInjector(ServerCredentials.createInsecure())
    tls.on('secureConnection', (socket) => {
      socket.on('error', () => undefined)
      grpc.injectConnection(socket)
    })
    tls.on('tlsClientError', (error, socket) => this.#refused(error, socket))
    this.#port = await listening(tls, listen)
    tls.on('error', (error) =>
      this.#options.log.error('listener failed', { error: describeError(error) }),
    )
    this.#renewAfter((certificate.notAfterMs - clock.wallMs()) / 2)
  }

  async drain(): Promise<void> {
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#renewal?.cancel()
    this.#tls?.close()
    this.#options.endStreams()
    await new Promise<void>((resolve) => {
      const force = this.#options.clock.after(200, () => this.#server.forceShutdown())
      this.#server.tryShutdown(() => {
        force.cancel()
        resolve()
      })
    })
    // Handshakes that were not done.
    for (const socket of this.#sockets) socket.destroy()
  }

  #refused(error: Error, socket: TLSSocket): void {
    this.#options.log.warn('connection failed', {
      peer: formatEndpoint(endAddress(socket.remoteAddress), socket.remotePort ?? 0),
      error: `tls error: ${describeHandshakeFailure(error, socket)}`,
    })
  }

  #renewAfter(ms: number): void {
    this.#renewal = this.#options.clock.after(Math.max(ms, RETRY_MS), () => this.#renew())
  }

  #renew(): void {
    const { issue, clock, log } = this.#options
    try {
      const certificate = issue()
      this.#tls?.setSecureContext(tlsOptionsOf(certificate))
      log.info('server certificate renewed')
      this.#renewAfter((certificate.notAfterMs - clock.wallMs()) / 2)
    } catch (error) {
      log.error('server certificate not renewed', { error: describeError(error) })
      this.#renewAfter(RETRY_MS)
    }
  }
}

/** All of them each time: `setSecureContext` resets what is left out. */
const tlsOptionsOf = ({ keyPem, chainPem }: ServerCertificate) =>
  ({
    key: keyPem,
    cert: chainPem,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
  }) satisfies TlsOptions

/** The port. */
async function listening(server: TlsServer, { host, port }: HostPort): Promise<number> {
  try {
    const started = once(server, 'listening')
    server.listen({ host, port })
    await started
  } catch (error) {
    const address = formatEndpoint(host, port)
    throw new AmbitError('GRPC_LISTEN', `cannot listen on ${address}: ${describeError(error)}`, {
      cause: error,
    })
  }
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}
