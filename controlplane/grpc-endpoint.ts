import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { Clock, Timer } from '../shared/runtime/clock.ts'
import { AmbitError, describeError } from '../shared/runtime/errors.ts'
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
/** After a failed renewal. */
const RETRY_MS = 60_000

/** The port of xDS, certificates and enrollment: gRPC over TLS 1.3, under a certificate that is renewed at half life. */
export class GrpcEndpoint implements Component {
  readonly name = 'grpc'
  readonly #options: GrpcEndpointOptions
  readonly #server: Server
  #credentials: RotatingCredentials | undefined
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
    this.#credentials = new RotatingCredentials(certificate)
    const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host
    this.#port = await bind(this.#server, `${host}:${listen.port}`, this.#credentials)
    this.#renewAfter((certificate.notAfterMs - clock.wallMs()) / 2)
  }

  async drain(): Promise<void> {
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#renewal?.cancel()
    this.#options.endStreams()
    await new Promise<void>((resolve) => {
      const force = this.#options.clock.after(200, () => this.#server.forceShutdown())
      this.#server.tryShutdown(() => {
        force.cancel()
        resolve()
      })
    })
  }

  #renewAfter(ms: number): void {
    this.#renewal = this.#options.clock.after(Math.max(ms, RETRY_MS), () => this.#renew())
  }

  #renew(): void {
    const { issue, clock, log } = this.#options
    try {
      const certificate = issue()
      this.#credentials?.replace(certificate)
      log.info('server certificate renewed')
      this.#renewAfter((certificate.notAfterMs - clock.wallMs()) / 2)
    } catch (error) {
      log.error('server certificate not renewed', { error: describeError(error) })
      this.#renewAfter(RETRY_MS)
    }
  }
}

/** grpc-js passes new options on to its open listeners; each time it needs all of them. */
class RotatingCredentials extends ServerCredentials {
  constructor(certificate: ServerCertificate) {
    super({}, tlsOptionsOf(certificate))
  }

  replace(certificate: ServerCertificate): void {
    this.updateSecureContextOptions(tlsOptionsOf(certificate))
  }

  override _equals(other: ServerCredentials): boolean {
    return other === this
  }
}

const tlsOptionsOf = ({ keyPem, chainPem }: ServerCertificate) =>
  ({ key: keyPem, cert: chainPem, minVersion: 'TLSv1.3' }) as const

async function bind(
  server: Server,
  address: string,
  credentials: ServerCredentials,
): Promise<number> {
  return await new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) resolve(port)
      else reject(new AmbitError('GRPC_LISTEN', `cannot listen on ${address}`, { cause: error }))
    })
  })
}
