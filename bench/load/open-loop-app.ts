import { extname } from 'node:path'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { HttpConnection } from './http-connection.ts'
import { OpenLoop } from './open-loop.ts'

/**
 * Sends HTTP requests at a fixed rate over kept connections and prints one JSON line:
 *
 *   open-loop-app --host ADDRESS --port PORT --path PATH --rate PER_SECOND --seconds N --connections N
 */
const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '80' },
    path: { type: 'string', default: '/' },
    rate: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '1' },
    connections: { type: 'string', default: '64' },
  },
})

/** Connections and the pacer are ready by then. */
const LEAD_MS = 300
/** How long the last answers are awaited. */
const GRACE_MS = 2_000
const RECONNECT_MS = 20

const nowMs = (): number => performance.timeOrigin + performance.now()
const perSecond = Number(values.rate)
const seconds = Number(values.seconds)
const startMs = nowMs() + LEAD_MS
const loop = new OpenLoop({ startMs, perSecond, seconds })

/** A connection and its successors: one request at a time. */
class Caller {
  /** When its request in flight was due. */
  dueMs: number | undefined
  #connection = this.#connect()

  send(dueMs: number): void {
    this.dueMs = dueMs
    this.#connection.send()
  }

  #connect(): HttpConnection {
    return new HttpConnection({
      host: values.host,
      port: Number(values.port),
      path: values.path,
      onAnswer: () => {
        if (this.dueMs !== undefined) loop.answered(this.dueMs, nowMs())
        this.dueMs = undefined
        free.push(this)
        sendDue()
      },
      onEnd: () => this.#reconnect(),
    })
  }

  #reconnect(): void {
    if (this.dueMs === undefined) free.splice(free.indexOf(this), 1)
    else loop.failed()
    this.dueMs = undefined
    setTimeout(() => {
      this.#connection = this.#connect()
      free.push(this)
      sendDue()
    }, RECONNECT_MS)
  }
}

const callers = Array.from({ length: Number(values.connections) }, () => new Caller())
const free: Caller[] = [...callers]
let isFinished = false

function sendDue(): void {
  for (let caller = free.pop(); caller !== undefined; caller = free.pop()) {
    const dueMs = loop.take()
    if (dueMs === undefined) {
      free.push(caller)
      break
    }
    caller.send(dueMs)
  }
  if (loop.finished) finish()
}

function finish(): void {
  if (isFinished) return
  isFinished = true
  const inFlight = callers.flatMap(({ dueMs }) => (dueMs === undefined ? [] : [dueMs]))
  const report = loop.report(nowMs(), inFlight)
  process.stdout.write(`${JSON.stringify({ ...report, seconds })}\n`, () => process.exit(0))
}

const file = new URL(`./pacer-worker${extname(import.meta.url)}`, import.meta.url)
const pacer = new Worker(file, {
  workerData: { startMs, intervalMs: 1_000 / perSecond, count: loop.total },
})
pacer.on('message', () => {
  loop.advance(nowMs())
  sendDue()
})
setTimeout(finish, LEAD_MS + seconds * 1_000 + GRACE_MS)
