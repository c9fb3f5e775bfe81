import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { describeError } from './errors.ts'
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
    const url = new URL(request.url ?? '/', 'http://endpoint')
    const answer = await this.#answer(url, request).catch((error: unknown): Answer => {
      this.#options.log.error('endpoint failed', {
        path: url.pathname,
        error: describeError(error),
      })
      return { status: 500, body: `${describeError(error)}\n` }
    })
    response.writeHead(answer.status ?? 200, {
      'content-type': answer.type ?? 'text/plain; charset=utf-8',
    })
    response.end(request.method === 'HEAD' ? undefined : answer.body)
  }

  async #answer(url: URL, request: IncomingMessage): Promise<Answer> {
    const route = this.#options.routes.get(url.pathname)
    if (route === undefined) return { status: 404, body: '' }
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET')
    if (!route.methods.includes(method)) return { status: 405, body: 'method not allowed\n' }
    return await route.answer(url.searchParams, request)
  }
}
