import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { codeOf, describeError } from './errors.ts'
import { endAddress, formatEndpoint } from './ip-address.ts'
import type { Component } from './lifecycle.ts'
import type { Log } from './log.ts'

export interface Answer {
  readonly status?: number
  readonly type?: string
  readonly body: string
}

/** One path of an endpoint. `methods` that are not listed get 405. */
export interface Route {
  readonly methods: readonly string[]
  answer(query: URLSearchParams, request: IncomingMessage): Answer | Promise<Answer>
}

export interface HttpEndpointOptions {
  readonly name: string
  readonly host: string
  /** 0 lets the kernel choose; see `port`. */
  readonly port: number
  readonly routes: ReadonlyMap<string, Route>
  readonly log: Log
}

/** A small HTTP/1.1 server for operators: admin, metrics, readiness. Never for user traffic. */
export class HttpEndpoint implements Component {
  readonly name: string
  readonly #options: HttpEndpointOptions
  readonly #server: Server

  constructor(options: HttpEndpointOptions) {
    this.name = options.name
    this.#options = options
    this.#server = createServer(
      {
        headersTimeout: 2_000,
        requestTimeout: 10_000,
        keepAliveTimeout: 5_000,
        maxHeaderSize: 8_192,
      },
      (request, response) => void this.#serve(request, response),
    )
    this.#server.maxConnections = 64
    this.#server.on('clientError', (error: Error, socket: Duplex) => this.#malformed(error, socket))
  }

  /** The port in use, once started. */
  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : this.#options.port
  }

  async start(): Promise<void> {
    this.#server.listen({ host: this.#options.host, port: this.#options.port })
    await once(this.#server, 'listening')
  }

  /** Operators watch a drain, so the endpoint serves until it is disposed. */
  async drain(): Promise<void> {
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume()
    request.on('error', () => undefined)
    const { name, log } = this.#options
    const answer = await this.#answer(request).catch((error: unknown): Answer => {
      log.error('endpoint failed', { path: request.url, error: describeError(error) })
      return { status: 500, body: `${describeError(error)}\n` }
    })
    const { status = 200 } = answer
    if (status >= 400 && status < 500) {
      const { method, url: path, socket } = request
      log.warn('request refused', { endpoint: name, peer: peerOf(socket), method, path, status })
    }
    response.writeHead(status, {
      'content-type': answer.type ?? 'text/plain; charset=utf-8',
    })
    response.end(request.method === 'HEAD' ? undefined : answer.body)
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = URL.parse(request.url ?? '/', 'http://endpoint')
    if (url === null) return { status: 400, body: 'not a path\n' }
    const route = this.#options.routes.get(url.pathname)
    if (route === undefined) return { status: 404, body: '' }
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET')
    if (!route.methods.includes(method)) return { status: 405, body: 'method not allowed\n' }
    return await route.answer(url.searchParams, request)
  }

  /** What is no HTTP at all, too long or too slow. */
  #malformed(error: Error, socket: Duplex): void {
    const code = codeOf(error) ?? ''
    // Whoever hangs up in mid-request has asked for nothing.
    if (code === 'ECONNRESET' || !socket.writable) {
      socket.destroy()
      return
    }
    const [status, reason] = REFUSALS.get(code) ?? [400, 'Bad Request']
    const { name, log } = this.#options
    const peer = socket instanceof Socket ? peerOf(socket) : undefined
    log.warn('request refused', { endpoint: name, peer, error: describeError(error), status })
    socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\n\r\n`)
  }
}

/** By the code of node's parser; anything else is 400. */
const REFUSALS = new Map<string, readonly [number, string]>([
  ['HPE_HEADER_OVERFLOW', [431, 'Request Header Fields Too Large']],
  ['ERR_HTTP_REQUEST_TIMEOUT', [408, 'Request Timeout']],
])

const peerOf = (socket: Socket): string =>
  formatEndpoint(endAddress(socket.remoteAddress), socket.remotePort ?? 0)
