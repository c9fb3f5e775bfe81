import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { HttpConnection } from './http-connection.ts'

/** A server under a test's control, and a connection to it. */
async function pair() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const answers: (() => void)[] = []
  const ended = Promise.withResolvers<void>()
  const connection = new HttpConnection({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    path: '/x',
    onAnswer: () => answers.shift()?.(),
    onEnd: () => ended.resolve(),
  })
  const [socket] = (await accepted) as [Socket]
  socket.setNoDelay(true).on('error', () => undefined)
  onTestFinished(() => {
    connection.close()
    socket.destroy()
    server.close()
  })
  const answer = (): Promise<void> => new Promise((resolve) => answers.push(resolve))
  return { connection, socket, answer, ended: ended.promise }
}

test('an answer is over with its last byte, however it is cut', async () => {
  const { connection, socket, answer } = await pair()
  for (const parts of [
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
    ['HTTP/1.1 20', '0 OK\r\ncontent-length: 5\r', '\n\r', '\nhe', 'llo'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ]) {
    const answered = answer()
    connection.send()
    expect(connection.busy).toBe(true)
    const [request] = await once(socket, 'data')
    expect(String(request)).toMatch(/^GET \/x HTTP\/1\.1\r\nHost: bench\r\n\r\n$/)
    for (const part of parts) await new Promise<void>((sent) => socket.write(part, () => sent()))
    await answered
    expect(connection.busy).toBe(false)
  }
})

test.for([
  'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 200 OK\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy',
])('a wrong answer ends the connection: %j', async (text) => {
  const { connection, socket, ended } = await pair()
  connection.send()
  await once(socket, 'data')
  socket.write(text)
  await ended
})

test('so does the other side', async () => {
  const { socket, ended } = await pair()
  socket.destroy()
  await ended
})
