import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer as createTlsServer } from 'node:tls'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { silentLog } from '../runtime/log.ts'
import { connectHbone } from './client.ts'
import { serveHbone } from './server.ts'
import { testCertificate } from './testing-tls.ts'

// nghttp2's own programs as peers, where they are installed. node:http2 is a peer in tunnel-stream.test.ts.
// curl speaks CONNECT over HTTP/2 from 8.1 on, and grpc-js sends no CONNECT: neither is a peer for a tunnel.

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0
const portOf = (server: Server): number => (server.address() as AddressInfo).port

test.skipIf(!has('nghttp'))('nghttp gets its answer, and many at once', async () => {
  const options = { ...testCertificate(), minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] } as const
  const listener = createTlsServer(options)
  const methods: string[] = []
  listener.on('secureConnection', (tls) => {
    const refuse = (incoming: { method: string; refuse(status: number): void }): void => {
      methods.push(incoming.method)
      incoming.refuse(400)
    }
    serveHbone(tls, refuse, { log: silentLog })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const url = `https://127.0.0.1:${portOf(listener)}/`
  const { stdout } = await promisify(execFile)('nghttp', [
    '-nv',
    '--no-verify-peer',
    '-m',
    '20',
    url,
  ])
  expect(stdout.match(/:status: 400/g)).toHaveLength(20)
  expect(stdout).not.toMatch(/PROTOCOL_ERROR|INTERNAL_ERROR/)
  expect(methods).toHaveLength(20)
  listener.close()
})

/** An HTTP/1 proxy that answers CONNECT with an echo. */
async function echoProxy(): Promise<Server> {
  const proxy = createHttpServer()
  proxy.on('connect', (_request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n')
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  return proxy
}

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  await once(server, 'close')
  return port
}

test.skipIf(!has('nghttpx'))('tunnels go through nghttpx, every byte of them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'interop-'))
  const { key, cert } = testCertificate()
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(join(folder, 'cert.pem'), cert)
  const backend = await echoProxy()
  const port = await freePort()
  const nghttpx = spawn(
    'nghttpx',
    [
      '--http2-proxy',
      `--frontend=127.0.0.1,${port}`,
      `--backend=127.0.0.1,${portOf(backend)}`,
      '--workers=1',
      '--conf=/dev/null',
      join(folder, 'key.pem'),
      join(folder, 'cert.pem'),
    ],
    { stdio: 'ignore' },
  )
  try {
    await expect
      .poll(async () => (await dial(port))?.end() !== undefined, { timeout: 5_000 })
      .toBe(true)
    const tls = await dial(port)
    if (tls === undefined) throw new Error('nghttpx does not answer')
    const client = await connectHbone(tls, { log: silentLog, handshakeTimeoutMs: 5_000 })
    const echoes = Array.from({ length: 20 }, async (_, index) => {
      const request = { authority: '10.0.0.1:80', headers: {} }
      const tunnel = await client.open(request, AbortSignal.timeout(5_000))
      tunnel.stream.write(Buffer.alloc(300_000 + index))
      let bytes = 0
      for await (const chunk of tunnel.stream) {
        bytes += (chunk as Buffer).length
        if (bytes === 300_000 + index) break
      }
      return bytes
    })
    expect(await Promise.all(echoes)).toEqual(echoes.map((_, index) => 300_000 + index))
    client.destroy(new Error('done'))
    await client.closed
  } finally {
    nghttpx.kill()
    await once(nghttpx, 'exit')
    backend.close()
    rmSync(folder, { recursive: true })
  }
})

async function dial(port: number) {
  const tls = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] })
  return await new Promise<typeof tls | undefined>((resolve) => {
    tls.once('secureConnect', () => resolve(tls))
    tls.once('error', () => resolve(undefined))
  })
}
