import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

/**
 * Opens connections to an echo server (`tcp-app`), each with one byte there and back, and holds them:
 *
 *   idle-app --host ADDRESS --port PORT --connections N --hold MS
 *
 * Prints `open N failed M REASON` when all are open, or as many as can be, and `alive N` when every one has carried another byte after that time.
 */
const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '9000' },
    connections: { type: 'string', default: '100' },
    hold: { type: 'string', default: '1000' },
  },
})

/** At once while opening and while asking again. */
const AT_ONCE = 64
const ANSWER_MS = 5_000
/** Opening ends then: what has failed so often will go on to fail, slowly. */
const MOST_FAILURES = 100
/** And then: fewer connections are open than were wanted, which the one who asked can see. */
const LONGEST_OPENING_MS = 45_000

const open: Socket[] = []
let failed = 0
let lastFailure = ''

async function openOne(): Promise<void> {
  if (failed >= MOST_FAILURES || performance.now() > LONGEST_OPENING_MS) return
  const socket = connect({ host: values.host, port: Number(values.port), noDelay: true })
  socket.on('error', () => undefined)
  try {
    await answer(socket, 'echo\nx')
    open.push(socket)
  } catch (error) {
    failed++
    lastFailure = error instanceof Error ? error.message : 'unknown'
    socket.destroy()
  }
}

/** Sends `text` and waits for what comes back; rejects when that takes too long or the connection ends. */
async function answer(socket: Socket, text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onClose = (): void => reject(new Error('closed'))
  const timer = setTimeout(() => reject(new Error('no answer')), ANSWER_MS)
  socket.once('data', () => resolve())
  socket.once('close', onClose)
  socket.write(text)
  await promise.finally(() => {
    clearTimeout(timer)
    socket.off('close', onClose)
  })
}

async function inTurns(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

await inTurns(Number(values.connections), openOne)
process.stdout.write(`open ${open.length} failed ${failed} ${lastFailure}\n`)
await sleep(Number(values.hold))
let alive = 0
await inTurns(open.length, async (index) => {
  const socket = open[index]
  if (socket === undefined) return
  await answer(socket, 'y').then(
    () => alive++,
    () => undefined,
  )
})
process.stdout.write(`alive ${alive}\n`, () => process.exit(0))
