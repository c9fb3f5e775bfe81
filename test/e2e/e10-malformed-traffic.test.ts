import { once } from 'node:events'
import { connect as connectHttp2, constants, type OutgoingHttpHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { IdentityMaterial } from '../../shared/identity/identity-material.ts'
import type { LabProcess } from '../../shared/lab/lab-process.ts'
import type { Place } from '../../shared/lab/place.ts'
import { AmbientMesh } from './support/ambient-mesh.ts'
import { connectFrom, sh, startApps } from './support/programs.ts'
import { authorityOf } from './support/raw-tls.ts'

const CALLER = 'spiffe://cluster.local/ns/default/sa/caller'
const GARBAGE = Buffer.from(
  '\x00\xff\x80 this is neither TLS nor HTTP \x01\x02\x03\r\n\r\n',
  'latin1',
)
const PLAIN_HTTP = Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
/** A TLS record that says it holds more than any may. */
const HUGE_RECORD = Buffer.concat([
  Buffer.from([0x16, 0x03, 0x01, 0xff, 0xff]),
  Buffer.alloc(70_000),
])

let mesh: AmbientMesh
let material: IdentityMaterial
/** Outside of all nodes. */
let outside: Place
let ztunnel: LabProcess

beforeAll(async () => {
  mesh = await AmbientMesh.start()
  await startApps(mesh.pod('far'))
  material = authorityOf(mesh.mesh).material(CALLER)
  outside = mesh.mesh.control
  ztunnel = mesh.mesh.ztunnel('node-2')
})

afterAll(async () => await mesh?.[Symbol.asyncDispose]())

/** Whatever was sent: everything lives, and who speaks properly is served. */
afterEach(async () => {
  for (const one of [ztunnel, mesh.mesh.ztunnel('node-1'), mesh.mesh.controlPlane]) {
    expect(one.exit, one.output.slice(-2_000)).toBeUndefined()
  }
  const url = `http://${mesh.host('far', 4)}:8080/`
  expect(await sh(mesh.pod('caller'), `curl -sS --fail --max-time 5 ${url}`)).toContain(
    '"app":"far"',
  )
})

const endOf = (socket: Socket): string => `${socket.localAddress}:${socket.localPort}`

/** Reads to the end, however that comes; rejects if it does not come within ten seconds. */
async function drained(socket: Socket): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const late = setTimeout(() => reject(new Error('the connection stays open')), 10_000)
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => undefined)
    socket.once('end', () => socket.destroy())
    socket.once('close', () => {
      clearTimeout(late)
      resolve(Buffer.concat(chunks))
    })
  })
}

/** Sends bytes and waits for the other side to close; what came, and who we were. */
async function send(host: string, port: number, bytes: Buffer, from = outside) {
  const socket = await connectFrom(from, host, port)
  const self = endOf(socket)
  socket.write(bytes)
  return { answer: await drained(socket), self }
}

/** The line of a process that has all of these in it. */
async function line(running: LabProcess, ...words: readonly (string | RegExp)[]): Promise<string> {
  const all = words.map((word) => (typeof word === 'string' ? literal(word) : word.source))
  return await running.waitForLine(new RegExp(all.map((word) => `(?=.*${word})`).join(''), 'i'))
}

const literal = (text: string): string => text.replaceAll(/[[\].*+?^${}()|\\]/g, String.raw`\$&`)

describe('E10 the HBONE port', () => {
  const host = (): string => mesh.pod('far').address4

  test.each([
    ['garbage', GARBAGE, /tls error/],
    ['plain HTTP', PLAIN_HTTP, /tls error.*plain HTTP/],
    ['a TLS record of forbidden length', HUGE_RECORD, /tls error/],
  ])('ends a connection with %s, and says so', async (_name, bytes, fault) => {
    const { self } = await send(host(), 15_008, bytes)
    await line(ztunnel, self, 'far', fault)
  })

  async function secured(options: { readonly alpn?: string } = {}): Promise<TLSSocket> {
    const socket = await connectFrom(outside, host(), 15_008)
    const tls = connectTls({
      socket,
      key: material.keyPem,
      cert: material.chainPem,
      rejectUnauthorized: false,
      ALPNProtocols: [options.alpn ?? 'h2'],
    })
    tls.on('error', () => undefined)
    return tls
  }

  test('refuses a protocol that is not HTTP/2', async () => {
    const tls = await secured({ alpn: 'http/1.1' })
    const self = endOf(tls)
    await drained(tls)
    await line(ztunnel, self, 'far', /tls error/)
  })

  test('ends a secured connection that does not speak HTTP/2', async () => {
    const tls = await secured()
    await once(tls, 'secureConnect')
    const self = endOf(tls)
    tls.write(PLAIN_HTTP)
    await drained(tls)
    await line(ztunnel, self, /HBONE connection failed/)
  })

  /** One request over HTTP/2; the status, or the code of the reset. */
  async function ask(
    headers: OutgoingHttpHeaders,
  ): Promise<{ status: number | string; self: string }> {
    const tls = await secured()
    const session = connectHttp2('https://far', {
      createConnection: () => tls,
      maxSendHeaderBlockLength: 1_000_000,
    })
    session.on('error', () => undefined)
    try {
      await once(session, 'remoteSettings')
      const self = endOf(tls)
      const stream = session.request(headers)
      stream.on('error', () => undefined)
      const status = await new Promise<number | string>((resolve) => {
        stream.once('response', (answer) => resolve(answer[':status'] ?? 0))
        stream.once('close', () => resolve(`reset ${stream.rstCode}`))
      })
      return { status, self }
    } finally {
      session.destroy()
    }
  }

  const authority = (text: string): OutgoingHttpHeaders => ({
    ':method': 'CONNECT',
    ':authority': text,
  })

  test.each<[string, () => OutgoingHttpHeaders, number, RegExp]>([
    [
      'GET',
      () => ({ ':method': 'GET', ':path': '/', ':authority': 'x' }),
      400,
      /expected method CONNECT, got GET/,
    ],
    [
      'POST',
      () => ({ ':method': 'POST', ':path': '/', ':authority': 'x' }),
      400,
      /expected method CONNECT, got POST/,
    ],
    ['an authority without a port', () => authority(host()), 400, /invalid CONNECT address/],
    ['an authority with port 0', () => authority(`${host()}:0`), 400, /invalid CONNECT address/],
    [
      'an authority with port 99999',
      () => authority(`${host()}:99999`),
      400,
      /invalid CONNECT address/,
    ],
    ['half an IPv6 address', () => authority('[::1:80'), 400, /invalid CONNECT address/],
    ['a mistyped address', () => authority('10.0.0.256:80'), 400, /invalid CONNECT address/],
    ['words', () => authority('nonsense'), 400, /invalid CONNECT address/],
    [
      'an authority of 10,000 characters',
      () => authority(`${'a'.repeat(10_000)}:80`),
      400,
      /invalid CONNECT address/,
    ],
    [
      'the address of another pod',
      () => authority(`${mesh.pod('near').address4}:8080`),
      400,
      /ip mismatch/,
    ],
    ['the port of the mesh itself', () => authority(`${host()}:15008`), 503, /recursive call/],
    [
      'an unknown service',
      () => authority('nobody.default.svc.cluster.local:80'),
      503,
      /no service/,
    ],
    ['a port where nobody listens', () => authority(`${host()}:1`), 503, /ECONNREFUSED/],
  ])('answers %s with the right status and a line', async (_name, headers, status, fault) => {
    const seen = await ask(headers())
    expect(seen.status).toBe(status)
    await line(ztunnel, seen.self.replace(/:\d+$/, ''), fault)
  })

  test('resets a request that has a header of 100 kB, and says so', async () => {
    const { status, self } = await ask({
      ...authority(`${host()}:8080`),
      x: 'y'.repeat(100_000),
    })
    expect(status).toBe(`reset ${constants.NGHTTP2_ENHANCE_YOUR_CALM}`)
    await line(ztunnel, self, /HBONE request refused/)
  })

  test('refuses a request with 3,000 headers, and says so', async () => {
    const many = Array.from({ length: 3_000 }, (_, index) => [`x-${index}`, 'y'.repeat(40)])
    const headers = { ...authority(`${host()}:8080`), ...Object.fromEntries(many) }
    const { status, self } = await ask(headers)
    expect(status).toBe(`reset ${constants.NGHTTP2_ENHANCE_YOUR_CALM}`)
    await line(ztunnel, self, /HBONE request refused/)
  })
})

describe('E10 the ports that only redirected connections should reach', () => {
  /** The reset may come before or after the connection was seen to be made. */
  async function expectReset(from: Place, host: string, port: number): Promise<void> {
    const ended = connectFrom(from, host, port).then(async (socket) => {
      socket.resume()
      await once(socket, 'close')
    })
    await expect(ended).rejects.toMatchObject({ code: 'ECONNRESET' })
  }

  test.each([15_001, 15_006])('a connection straight to %i is cut, and said so', async (port) => {
    const far = mesh.pod('far')
    await expectReset(outside, far.address4, port)
    await line(ztunnel, `"${outside.address4}:`, /recursive call/)
    await expectReset(outside, far.address6, port)
    await line(ztunnel, `"[${outside.address6}]:`, /recursive call/)
  })

  test.each([15_001, 15_006])('a pod that calls %i itself is cut too', async (port) => {
    const caller = mesh.pod('caller')
    await expectReset(caller, caller.address4, port)
    await expectReset(caller, mesh.pod('far').address4, port)
    await line(mesh.mesh.ztunnel('node-1'), `"${caller.address4}:`, /recursive call/)
  })
})

const head = (first: string, headers = ''): Buffer =>
  Buffer.from(`${first} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}\r\n`)

describe.each<[string, () => Place, number, () => LabProcess]>([
  ['admin', () => mesh.mesh.node('node-2'), 15_000, () => ztunnel],
  ['stats', () => mesh.mesh.node('node-2'), 15_020, () => ztunnel],
  ['readiness', () => mesh.mesh.node('node-2'), 15_021, () => ztunnel],
  ['http', () => mesh.mesh.control, 15_014, () => mesh.mesh.controlPlane],
])('E10 the %s endpoint', (endpoint, place, port, running) => {
  test.each([
    ['garbage', GARBAGE, 400],
    ['a TLS handshake', HUGE_RECORD, 400],
    ['oversized headers', head('GET /', `x: ${'y'.repeat(20_000)}\r\n`), 431],
    ['a path that is none', head('GET //'), 400],
    ['an unknown path', head('GET /nothing'), 404],
    ['an unknown method', Buffer.from('FETCH / HTTP/1.1\r\nhost: x\r\n\r\n'), 400],
  ])('answers %s with the right status and a line', async (_name, bytes, status) => {
    const { answer, self } = await send('127.0.0.1', port, bytes, place())
    expect(answer.toString('latin1')).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    await line(running(), self, `"endpoint":"${endpoint}"`, `"status":${status}`)
  })
})

test.each([
  ['DELETE /config_dump', 15_000, 405],
  ['GET /quitquitquit', 15_000, 405],
  ['POST /logging?level=loud', 15_000, 400],
  ['POST /healthz/ready', 15_021, 405],
])('E10 %s at %i is a %i', async (request, port, status) => {
  const { answer, self } = await send('127.0.0.1', port, head(request), mesh.mesh.node('node-2'))
  expect(answer.toString('latin1')).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  await line(ztunnel, self, `"status":${status}`)
})

describe('E10 the gRPC port of the control plane', () => {
  test.each([
    ['garbage', GARBAGE],
    ['plain HTTP', PLAIN_HTTP],
    ['a TLS record of forbidden length', HUGE_RECORD],
  ])('ends a connection with %s, and says so', async (_name, bytes) => {
    const { self } = await send('127.0.0.1', 15_012, bytes, mesh.mesh.control)
    await line(mesh.mesh.controlPlane, self, /tls error/)
  })

  async function call(headers: OutgoingHttpHeaders, body: Buffer) {
    const socket = await connectFrom(mesh.mesh.control, '127.0.0.1', 15_012)
    const tls = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] })
    const session = connectHttp2('https://localhost', { createConnection: () => tls })
    session.on('error', () => undefined)
    try {
      const stream = session.request({
        ':method': 'POST',
        'content-type': 'application/grpc',
        te: 'trailers',
        ...headers,
      })
      stream.on('error', () => undefined)
      stream.end(body)
      stream.resume()
      const seen: Record<string, unknown> = {}
      stream.on('response', (answer) => Object.assign(seen, answer))
      stream.on('trailers', (trailers) => Object.assign(seen, trailers))
      await once(stream, 'close', { signal: AbortSignal.timeout(5_000) })
      return { status: seen[':status'], grpc: seen['grpc-status'] }
    } finally {
      session.destroy()
    }
  }

  const CREATE = '/istio.v1.auth.IstioCertificateService/CreateCertificate'
  const message = (bytes: Buffer): Buffer => {
    const prefix = Buffer.alloc(5)
    prefix.writeUInt32BE(bytes.length, 1)
    return Buffer.concat([prefix, bytes])
  }

  test.each<[string, OutgoingHttpHeaders, Buffer, object]>([
    [
      'an unknown method',
      { ':path': '/no.such.Service/Do' },
      message(Buffer.alloc(0)),
      { status: 200, grpc: '12' },
    ],
    [
      'a body that is no protobuf',
      { ':path': CREATE },
      message(Buffer.alloc(40, 0xff)),
      { status: 200, grpc: '13' },
    ],
    [
      'a body of another content type',
      { ':path': CREATE, 'content-type': 'text/plain' },
      Buffer.alloc(0),
      { status: 415 },
    ],
    [
      'a request without a token',
      { ':path': CREATE },
      message(Buffer.alloc(0)),
      { status: 200, grpc: '16' },
    ],
  ])('answers %s with the right status', async (_name, headers, body, expected) => {
    expect(await call(headers, body)).toMatchObject(expected)
  })
})
