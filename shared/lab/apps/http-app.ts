import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { hostname } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { byteStream } from './byte-stream.ts'
import { startCalls } from './caller.ts'

/**
 * A small real HTTP service, as a user would write one; it knows nothing of a mesh.
 *
 *   GET  /            who answers and whom it sees as its peer, as JSON
 *   GET  /bytes?n=N&seed=S   N bytes of a stream that the seed determines
 *   ANY  /echo        the request's body
 *   POST /hash        {bytes, sha256} of the request's body
 *   GET  /call?url=U  calls another service and returns its answer; `keepalive=off` uses a new connection
 *
 * With `--call 'RATE URL'`, any number of them, it also calls others by itself.
 */
const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    name: { type: 'string', default: 'app' },
    version: { type: 'string', default: 'v1' },
    pod: { type: 'string', default: hostname() },
    call: { type: 'string', multiple: true, default: [] },
  },
})

const CALL_TIMEOUT_MS = 10_000
const MOST_BYTES = 2 ** 40

const agents = { on: new Agent({ keepAlive: true, maxSockets: 64 }), off: new Agent() }

const server = createServer((incoming, response) => {
  answer(incoming, response).catch((error: unknown) => {
    if (response.headersSent) response.destroy()
    else sendJson(response, 502, { app: options.name, error: String(error) })
  })
})

async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(incoming.url ?? '/', 'http://app')
  switch (url.pathname) {
    case '/':
      sendJson(response, 200, whoAmI(incoming))
      break
    case '/bytes':
      await sendBytes(url.searchParams, response)
      break
    case '/echo':
      response.writeHead(200, {
        'content-type': incoming.headers['content-type'] ?? 'application/octet-stream',
      })
      await pipeline(incoming, response)
      break
    case '/hash':
      sendJson(response, 200, await hashOf(incoming))
      break
    case '/call':
      await call(url.searchParams, incoming, response)
      break
    default:
      sendJson(response, 404, { error: `no such path: ${url.pathname}` })
  }
}

function whoAmI({ socket }: IncomingMessage) {
  return {
    app: options.name,
    version: options.version,
    pod: options.pod,
    peer: socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, ''),
  }
}

async function sendBytes(query: URLSearchParams, response: ServerResponse): Promise<void> {
  const count = Number(query.get('n') ?? '0')
  if (!Number.isInteger(count) || count < 0 || count > MOST_BYTES) {
    sendJson(response, 400, { error: 'n is not a number of bytes' })
    return
  }
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': count })
  await pipeline(byteStream(count, query.get('seed') ?? ''), response)
}

async function hashOf(incoming: IncomingMessage) {
  const hash = createHash('sha256')
  let bytes = 0
  incoming.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    hash.update(chunk)
  })
  await once(incoming, 'end')
  return { bytes, sha256: hash.digest('hex') }
}

async function call(
  query: URLSearchParams,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const target = URL.parse(query.get('url') ?? '')
  if (target?.protocol !== 'http:') {
    sendJson(response, 400, { error: 'url is not an http URL' })
    return
  }
  const outgoing = request(target, {
    agent: agents[query.get('keepalive') === 'off' ? 'off' : 'on'],
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
  })
  incoming.resume()
  response.once('close', () => outgoing.destroy())
  const answered = once(outgoing, 'response')
  outgoing.end()
  const [inner] = (await answered) as [IncomingMessage]
  response.writeHead(inner.statusCode ?? 502, {
    'content-type': inner.headers['content-type'] ?? 'application/octet-stream',
    'x-called-by': options.name,
  })
  await pipeline(inner, response)
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
}

const calls = startCalls(options.call)

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    calls.stop()
    for (const agent of Object.values(agents)) agent.destroy()
    server.close()
    server.closeAllConnections()
  })
}

server.listen(Number(options.port), '::', () =>
  process.stdout.write(`listening on ${options.port}\n`),
)
