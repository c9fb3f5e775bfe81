/**
 * Asks a Node process whose inspector is open on this network namespace's loopback to collect garbage in all of
 * its threads, and prints how many bytes of their heaps are in use after that.
 */
const PORT = 9229
const OPEN_MS = 5_000

/** The inspector opens some time after the signal. */
async function inspectorUrl(): Promise<string> {
  const until = performance.now() + OPEN_MS
  for (;;) {
    try {
      const answer = await fetch(`http://127.0.0.1:${PORT}/json/list`)
      const [target] = (await answer.json()) as { readonly webSocketDebuggerUrl: string }[]
      if (target !== undefined) return target.webSocketDebuggerUrl
    } catch (error) {
      if (performance.now() > until) throw error
    }
  }
}

interface Message {
  readonly id?: number
  readonly result?: unknown
  readonly method?: string
  readonly params?: { readonly sessionId: string; readonly message?: string }
}

const socket = new WebSocket(await inspectorUrl())
const waiting = new Map<number, (result: unknown) => void>()
/** Of the worker threads. */
const sessions: string[] = []
let last = 0

socket.addEventListener('message', ({ data }) => receive(String(data)))

/** What a worker says comes wrapped in a message of the main thread. */
function receive(text: string): void {
  const { id, result, method, params } = JSON.parse(text) as Message
  if (method === 'NodeWorker.attachedToWorker' && params !== undefined) {
    sessions.push(params.sessionId)
  } else if (method === 'NodeWorker.receivedMessageFromWorker') {
    receive(params?.message ?? '{}')
  } else if (id !== undefined) {
    waiting.get(id)?.(result)
    waiting.delete(id)
  }
}

/** Of the main thread, or of the worker with this session. */
async function ask(method: string, sessionId?: string, params: object = {}): Promise<unknown> {
  const id = ++last
  const { promise, resolve } = Promise.withResolvers<unknown>()
  waiting.set(id, resolve)
  const message = JSON.stringify({ id, method, params })
  if (sessionId === undefined) socket.send(message)
  else void ask('NodeWorker.sendMessageToWorker', undefined, { sessionId, message })
  return await promise
}

async function usedAfterCollection(sessionId?: string): Promise<number> {
  await ask('HeapProfiler.collectGarbage', sessionId)
  const { usedSize } = (await ask('Runtime.getHeapUsage', sessionId)) as {
    readonly usedSize: number
  }
  return usedSize
}

await new Promise((resolve) => {
  socket.addEventListener('open', resolve, { once: true })
})
await ask('NodeWorker.enable', undefined, { waitForDebuggerOnStart: false })
const used = await Promise.all([undefined, ...sessions].map(usedAfterCollection))
process.stdout.write(`${used.reduce((sum, one) => sum + one, 0)}\n`)
socket.close()
