import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { HttpEndpoint, type Route } from './http-endpoint.ts'
import { createLog } from './log.ts'

const lines: string[] = []
const endpoint = new HttpEndpoint({
  name: 'pages',
  host: '127.0.0.1',
  port: 0,
  routes: new Map<string, Route>([
    [
      '/page',
      { methods: ['GET'], answer: (query) => ({ body: `page ${query.get('n') ?? ''}\n` }) },
    ],
    ['/broken', { methods: ['GET'], answer: () => Promise.reject(new Error('no luck')) }],
  ]),
  log: createLog({ level: 'info', format: 'json', write: (line) => void lines.push(line) }),
})

beforeAll(async () => await endpoint.start())
afterAll(async () => await endpoint[Symbol.asyncDispose]())
beforeEach(() => void lines.splice(0))

/** The answer to bytes as they are. */
async function send(bytes: string): Promise<{ status: number; answer: string }> {
  const socket = connect(endpoint.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(bytes)
  const answer = await text(socket)
  return { status: Number(/^HTTP\/1.1 (\d+) /.exec(answer)?.[1]), answer }
}

const request = (line: string, headers = ''): string =>
  `${line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}\r\n`

describe('HttpEndpoint', () => {
  test('answers what is asked well, without a word in the log', async () => {
    const { status, answer } = await send(request('GET /page?n=7'))
    expect(status).toBe(200)
    expect(answer).toContain('page 7\n')
    expect((await send(request('HEAD /page'))).answer).not.toContain('page')
    expect(lines).toEqual([])
  })

  test.each([
    ['an unknown path', request('GET /nothing'), 404, /\/nothing/],
    ['a wrong method', request('DELETE /page'), 405, /DELETE/],
    ['a path that is none', request('GET //'), 400, /GET/],
    ['no HTTP', 'hello\r\n\r\n', 400, /Parse Error/],
    ['a TLS handshake', '\x16\x03\x01\x00\x05hello', 400, /Parse Error/],
    ['too long headers', request('GET /page', `x: ${'y'.repeat(10_000)}\r\n`), 431, /overflow/i],
  ])('refuses %s and says so', async (_name, bytes, expected, words) => {
    expect((await send(bytes)).status).toBe(expected)
    expect(lines.length).toBe(1)
    expect(lines[0]).toMatch(words)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'warn',
      endpoint: 'pages',
      peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      status: expected,
    })
  })

  test('a page that fails is a 500, logged with its path', async () => {
    expect((await send(request('GET /broken'))).status).toBe(500)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'error', path: '/broken' })
  })
})
