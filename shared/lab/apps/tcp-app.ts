import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { byteStream } from './byte-stream.ts'

/**
 * A TCP server for tests. The first line of a connection says what becomes of it:
 *
 *   echo                 everything that follows comes back
 *   sink                 "BYTES SHA256" of what follows, after the client has closed its sending side
 *   source N [SEED]      N bytes of a stream that the seed determines, then a close
 *   slow-answer SECONDS  as sink, after a wait
 *   reset                a TCP reset after the next byte
 *   peer                 "ADDRESS PORT" of the client as seen here, then a close
 */
const { values: options } = parseArgs({ options: { port: { type: 'string', default: '9000' } } })

const LONGEST_COMMAND = 256

const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy())
  serve(socket).catch(() => socket.destroy())
})

async function serve(socket: Socket): Promise<void> {
  const [command = '', first = '', second = ''] = (await readLine(socket)).split(' ')
  switch (command) {
    case 'echo':
      await pipeline(socket, socket)
      break
    case 'sink':
      await answerHash(socket, 0)
      break
    case 'slow-answer':
      await answerHash(socket, Number(first) * 1_000)
      break
    case 'source':
      await pipeline(byteStream(Number(first), second), socket)
      break
    case 'reset':
      socket.once('data', () => socket.resetAndDestroy())
      break
    case 'peer':
      socket.end(`${socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '')} ${socket.remotePort}\n`)
      socket.resume()
      break
    default:
      socket.end(`unknown command: ${command}\n`)
      socket.resume()
  }
}

/** The first line; what follows it stays in the socket. */
async function readLine(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let seen = Buffer.alloc(0)
  const fail = (): void => reject(new Error('no command'))
  const onReadable = (): void => {
    for (let chunk: unknown = socket.read(); Buffer.isBuffer(chunk); chunk = socket.read()) {
      seen = Buffer.concat([seen, chunk])
      const end = seen.indexOf('\n')
      if (end < 0 && seen.length <= LONGEST_COMMAND) continue
      socket.off('readable', onReadable)
      if (end < 0) return fail()
      if (seen.length > end + 1) socket.unshift(seen.subarray(end + 1))
      return resolve(seen.toString('latin1', 0, end).trim())
    }
  }
  socket.on('readable', onReadable)
  socket.once('end', fail)
  socket.once('close', fail)
  return await promise
}

async function answerHash(socket: Socket, waitMs: number): Promise<void> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    if (!Buffer.isBuffer(chunk)) continue
    bytes += chunk.length
    hash.update(chunk)
  }
  if (waitMs > 0) await sleep(waitMs)
  socket.end(`${bytes} ${hash.digest('hex')}\n`)
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => process.exit(0))
}

server.listen(Number(options.port), '::', () =>
  process.stdout.write(`listening on ${options.port}\n`),
)
