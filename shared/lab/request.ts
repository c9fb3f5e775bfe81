import { request as httpRequest } from 'node:http'
import { Socket } from 'node:net'
import { NetworkNamespace } from '../linux/namespace.ts'
import { tcpSocket } from '../linux/sockets.ts'
import { AmbitError } from '../runtime/errors.ts'

export interface RequestOptions {
  readonly port: number
  readonly path: string
  /** An IP address; loopback if left out. */
  readonly host?: string
  readonly method?: string
  readonly timeoutMs?: number
}

export interface RequestAnswer {
  readonly status: number
  readonly body: string
}

/** More than any admin page of ours. */
const LARGEST_BODY = 256 * 1024 * 1024

/** One HTTP/1.1 request from inside a network namespace; rejects with `LAB_REQUEST` when there is no answer. */
export function request(
  place: { readonly namespacePath: string },
  options: RequestOptions,
): Promise<RequestAnswer> {
  const { port, path, host = '127.0.0.1', method = 'GET', timeoutMs = 5_000 } = options
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(new AmbitError('LAB_REQUEST', `${method} ${host}:${port}${path}`, { cause: error }))
    const call = httpRequest({
      method,
      path,
      headers: { host: 'lab', connection: 'close' },
      createConnection: () => connectIn(place.namespacePath, host, port),
    })
    const timer = setTimeout(
      () => call.destroy(new Error(`no answer in ${timeoutMs} ms`)),
      timeoutMs,
    )
    call.on('close', () => clearTimeout(timer))
    call.on('error', fail)
    call.on('response', (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('error', fail)
      response.on('data', (text: string) => {
        body += text
        if (body.length > LARGEST_BODY) call.destroy(new Error('the answer is too large'))
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
    call.end()
  })
}

function connectIn(namespacePath: string, host: string, port: number): Socket {
  using namespace = NetworkNamespace.open(namespacePath)
  const fd = namespace.run(() => tcpSocket({ family: host.includes(':') ? 6 : 4 }))
  return new Socket({ fd }).connect({ host, port })
}
