import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startCalls } from './caller.ts'

test('calls steadily, over one connection or over new ones, and stops', async () => {
  const sockets = { one: new Set<unknown>(), many: new Set<unknown>() }
  const { promise: enough, resolve } = Promise.withResolvers<void>()
  const server = createHttpServer((request, response) => {
    sockets[request.url === '/one' ? 'one' : 'many'].add(request.socket)
    response.end('hello')
    if (sockets.many.size === 3) resolve()
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const calls = startCalls([
    `50 keepalive http://127.0.0.1:${port}/one`,
    `50 http://127.0.0.1:${port}/many`,
  ])
  await enough
  calls.stop()
  expect(sockets.one.size).toBe(1)
})

test('counts in Redis and lets the server close', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(':1\r\n+OK\r\n'))
  })
  server.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const calls = startCalls([`50 redis://127.0.0.1:${port}/`])
  const [socket] = await once(server, 'connection')
  const [request] = await once(socket, 'data')
  calls.stop()
  expect(String(request)).toBe('INCR lookups\r\nQUIT\r\n')
})

test.each(['http://a/', '0 http://a/', '1 ftp://a/', '1 twice http://a/', '1 nonsense'])(
  'refuses %j',
  (spec) => {
    expect(() => startCalls([spec])).toThrow(`call '${spec}'`)
  },
)
