import { once } from 'node:events'
import { request } from 'node:http'
import { Socket } from 'node:net'
import { buffer, text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tcpSocket } from '../../linux/sockets.ts'
import { codeOf } from '../../runtime/errors.ts'
import { Lab, type LabProcess } from '../lab.ts'
import type { Place } from '../place.ts'
import { appPath } from './app-path.ts'
import { byteStream, byteStreamHash } from './byte-stream.ts'

let lab: Lab
let box: Place
let http: LabProcess
let tcp: LabProcess

beforeAll(async () => {
  lab = await Lab.create()
  box = await lab.machine('box')
  http = box.spawn('node', [
    appPath('http-app'),
    '--name',
    'payments',
    '--version',
    'v2',
    '--pod',
    'p1',
  ])
  tcp = box.spawn('node', [appPath('tcp-app')])
  await Promise.all([http.waitForLine(/listening on 8080/), tcp.waitForLine(/listening on 9000/)])
})

afterAll(async () => await lab.dispose())

const dial = (port: number, host = '127.0.0.1'): Socket => {
  const family = host.includes(':') ? 6 : 4
  const fd = box.namespace.run(() => tcpSocket({ family }))
  return new Socket({ fd, allowHalfOpen: true }).connect({ host, port })
}

async function get(path: string, options: { host?: string; method?: string; body?: string } = {}) {
  const call = request({
    path,
    method: options.method ?? 'GET',
    agent: undefined,
    headers: { connection: 'close' },
    createConnection: () => dial(8080, options.host),
  })
  const answered = once(call, 'response')
  call.end(options.body)
  const [response] = await answered
  return { status: response.statusCode as number, body: await buffer(response) }
}

const json = ({ body }: { body: Buffer }): unknown => JSON.parse(body.toString())

describe('http-app', () => {
  test('tells who it is and whom it sees, on both families', async () => {
    const who = { app: 'payments', version: 'v2', pod: 'p1' }
    expect(json(await get('/'))).toEqual({ ...who, peer: '127.0.0.1' })
    expect(json(await get('/', { host: '::1' }))).toEqual({ ...who, peer: '::1' })
  })

  test('streams bytes that the caller can check', async () => {
    const { body } = await get('/bytes?n=1000000&seed=a')
    expect(body.equals(await buffer(byteStream(1_000_000, 'a')))).toBe(true)
    const hashed = await get('/hash', { method: 'POST', body: 'abc' })
    expect(json(hashed)).toMatchObject({ bytes: 3, sha256: expect.stringMatching(/^ba7816bf/) })
    expect((await get('/bytes?n=-1')).status).toBe(400)
    expect((await get('/echo', { method: 'POST', body: 'again' })).body.toString()).toBe('again')
  })

  test('calls others and says so when they fail', async () => {
    const call = (url: string, more = ''): Promise<{ status: number; body: Buffer }> =>
      get(`/call?url=${encodeURIComponent(url)}${more}`)
    expect(json(await call('http://127.0.0.1:8080/'))).toMatchObject({ app: 'payments' })
    expect(json(await call('http://[::1]:8080/', '&keepalive=off'))).toMatchObject({ peer: '::1' })
    expect((await call('http://127.0.0.1:1/')).status).toBe(502)
    expect((await call('file:///etc/passwd')).status).toBe(400)
    expect((await get('/nothing')).status).toBe(404)
  })

  test('ends on SIGTERM, whatever is open', async () => {
    const open = dial(8080)
    await once(open, 'connect')
    open.on('error', () => undefined).resume()
    expect(await http.stop()).toEqual({ code: 0, signal: null })
    open.destroy()
  })
})

describe('tcp-app', () => {
  const talk = async (input: string): Promise<string> => {
    const socket = dial(9000)
    socket.end(input)
    return await text(socket)
  }

  test('echoes, also what comes with the command', async () => {
    expect(await talk('echo\nabc')).toBe('abc')
  })

  test('hashes what it is sent and answers after the end', async () => {
    const socket = dial(9000)
    socket.write('sink\n')
    byteStream(300_000, 's').pipe(socket)
    expect(await text(socket)).toBe(`300000 ${await byteStreamHash(300_000, 's')}\n`)
  })

  test('answers late to a half-closed connection', async () => {
    const began = performance.now()
    expect(await talk('slow-answer 0.2\nabc')).toMatch(/^3 ba7816bf/)
    expect(performance.now() - began).toBeGreaterThan(190)
  })

  test('is a source of bytes', async () => {
    const socket = dial(9000)
    socket.end('source 700000 x\n')
    expect((await buffer(socket)).equals(await buffer(byteStream(700_000, 'x')))).toBe(true)
  })

  test('resets on demand', async () => {
    const socket = dial(9000)
    socket.write('reset\n')
    socket.write('x')
    socket.resume()
    const [error] = await once(socket, 'error')
    expect(codeOf(error)).toBe('ECONNRESET')
  })

  test('tells the peer address, and refuses what it does not know', async () => {
    expect(await talk('peer\n')).toMatch(/^127\.0\.0\.1 \d+\n$/)
    expect(await talk('dance\n')).toBe('unknown command: dance\n')
  })
})

describe('byteStream', () => {
  test('differs by seed and does not repeat within a megabyte of windows', async () => {
    const [a, b] = await Promise.all([
      buffer(byteStream(1_000, 'a')),
      buffer(byteStream(1_000, 'b')),
    ])
    expect(a.equals(b)).toBe(false)
    const bytes = await buffer(byteStream(200_000, 'a'))
    const windows = new Set<string>()
    for (let at = 0; at + 12 <= bytes.length; at += 12)
      windows.add(bytes.toString('latin1', at, at + 12))
    expect(windows.size).toBe(Math.floor(200_000 / 12))
  })
})
