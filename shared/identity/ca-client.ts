import { readFile } from 'node:fs/promises'
import { Metadata, type ServiceError, status } from '@grpc/grpc-js'
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateServiceClient,
} from '../proto/generated/citadel.ts'
import type { Clock } from '../runtime/clock.ts'
import { AmbitError, describeError } from '../runtime/errors.ts'
import type { Log } from '../runtime/log.ts'
import type { CertificateSource } from './certificate-source.ts'
import { channelSecurity } from './channel-security.ts'
import type { IssuedCertificate } from './identity-material.ts'

export interface CaClientOptions {
  /** `host:port`, or the same with `https://` in front. */
  readonly address: string
  /** PEM file with the roots that the CA's own TLS certificate is trusted by; read again for each request. */
  readonly rootFile: string
  /** File with the bearer token; read again for each request. */
  readonly tokenFile: string
  readonly clusterId: string
  /** Lifetime to ask for, in seconds. */
  readonly ttlSeconds: number
  /** Default 10,000. */
  readonly deadlineMs?: number
  readonly clock: Clock
  readonly log: Log
}

const DEADLINE_MS = 10_000

const CHANNEL_OPTIONS = {
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.max_receive_message_length': 1024 * 1024,
  // A CA that comes back is found within seconds: connections wait for it.
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 2_000,
}

interface Channel {
  readonly roots: string
  readonly client: IstioCertificateServiceClient
}

/** Asks a CA that speaks Istio's certificate service, on behalf of the workloads of this node. */
export class CaClient implements CertificateSource, Disposable {
  readonly #options: CaClientOptions
  readonly #target: string
  #channel: Channel | undefined
  #closed = false

  /** Throws `CA_ADDRESS`. */
  constructor(options: CaClientOptions) {
    this.#options = options
    this.#target = targetOf(options.address)
  }

  [Symbol.dispose](): void {
    this.#closed = true
    this.#channel?.client.close()
    this.#channel = undefined
  }

  /**
   * Rejects with `CA_ROOT` or `CA_TOKEN` (a file), `CA_UNAUTHENTICATED`, `CA_INVALID` (it refuses the request),
   * `CA_UNAVAILABLE`, `CA_FAILED`, `CA_ANSWER` (an answer without the parts that it must have), or the signal's reason.
   */
  async issue(identity: string, csrPem: string, signal: AbortSignal): Promise<IssuedCertificate> {
    const metadata = new Metadata()
    metadata.set('authorization', `Bearer ${await this.#readToken()}`)
    metadata.set('clusterid', this.#options.clusterId)
    const client = await this.#connect()
    signal.throwIfAborted()
    const request: IstioCertificateRequest = {
      csr: csrPem,
      validityDuration: this.#options.ttlSeconds,
      metadata: { ImpersonatedIdentity: identity },
    }
    const response = await this.#call(client, { request, metadata, signal })
    return partsOf(response.certChain)
  }

  async #readToken(): Promise<string> {
    const { tokenFile } = this.#options
    const token = (await read(tokenFile, 'CA_TOKEN')).trim()
    if (token === '') throw new AmbitError('CA_TOKEN', `the token file ${tokenFile} is empty`)
    // Anything else would be refused by the transport with a text that shows the token.
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new AmbitError('CA_TOKEN', `the token file ${tokenFile} does not hold a token`)
    }
    return token
  }

  /** The channel for the roots that are in the file now; with an unreadable file, the one there was. */
  async #connect(): Promise<IstioCertificateServiceClient> {
    const { rootFile, log } = this.#options
    let next: Channel
    try {
      const roots = await read(rootFile, 'CA_ROOT')
      if (this.#closed) throw new AmbitError('CA_CLOSED', 'the client of the CA is closed')
      if (roots === this.#channel?.roots) return this.#channel.client
      if (!roots.includes('-----BEGIN CERTIFICATE-----')) {
        throw new AmbitError('CA_ROOT', `the root file ${rootFile} holds no certificate`)
      }
      next = { roots, client: this.#open(roots) }
    } catch (error) {
      if (this.#channel === undefined) throw error
      log.warn('roots of the CA kept', { file: rootFile, error: describeError(error) })
      return this.#channel.client
    }
    // Calls that are under way end on the old channel.
    this.#channel?.client.close()
    this.#channel = next
    return next.client
  }

  #open(roots: string): IstioCertificateServiceClient {
    try {
      const host = this.#target.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
      const security = channelSecurity(host, roots)
      return new IstioCertificateServiceClient(this.#target, security.credentials, {
        ...CHANNEL_OPTIONS,
        ...security.options,
      })
    } catch (error) {
      const { rootFile } = this.#options
      throw new AmbitError('CA_ROOT', `the root file ${rootFile} is not usable`, { cause: error })
    }
  }

  #call(
    client: IstioCertificateServiceClient,
    what: { request: IstioCertificateRequest; metadata: Metadata; signal: AbortSignal },
  ): Promise<IstioCertificateResponse> {
    const { request, metadata, signal } = what
    const { clock, deadlineMs = DEADLINE_MS } = this.#options
    return new Promise((resolve, reject) => {
      const deadline = clock.wallMs() + deadlineMs
      const onAbort = (): void => call.cancel()
      const call = client.createCertificate(request, metadata, { deadline }, (error, response) => {
        signal.removeEventListener('abort', onAbort)
        if (error === null) resolve(response)
        else reject(signal.aborted ? signal.reason : this.#failure(error))
      })
      signal.addEventListener('abort', onAbort)
    })
  }

  #failure(error: ServiceError): AmbitError {
    const code = CODES.get(error.code) ?? 'CA_FAILED'
    const name = status[error.code] ?? String(error.code)
    const message = `the CA at ${this.#target} answered ${name}: ${error.details}`
    return new AmbitError(code, message)
  }
}

const CODES: ReadonlyMap<status, string> = new Map([
  [status.UNAUTHENTICATED, 'CA_UNAUTHENTICATED'],
  [status.PERMISSION_DENIED, 'CA_UNAUTHENTICATED'],
  [status.INVALID_ARGUMENT, 'CA_INVALID'],
  [status.UNAVAILABLE, 'CA_UNAVAILABLE'],
  [status.DEADLINE_EXCEEDED, 'CA_UNAVAILABLE'],
])

/** `[leaf, intermediates..., roots]` (ztunnel spec, section 7.1). */
function partsOf(chain: readonly string[]): IssuedCertificate {
  const [leaf, ...rest] = chain
  const roots = rest.pop()
  if (leaf === undefined) throw new AmbitError('CA_ANSWER', 'the CA answered without a certificate')
  if (roots === undefined) throw new AmbitError('CA_ANSWER', 'the CA answered without its roots')
  return { leaf, intermediates: rest, roots }
}

/** A CA is never asked in the clear: the token would be anyone's. */
function targetOf(address: string): string {
  const [, target] = /^(?:https:\/\/)?([^/]+:\d{1,5})\/?$/.exec(address) ?? []
  if (target === undefined) {
    throw new AmbitError('CA_ADDRESS', `the address of the CA is not https://host:port: ${address}`)
  }
  return target
}

async function read(file: string, code: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new AmbitError(code, `cannot read ${file}`, { cause: error })
  }
}
