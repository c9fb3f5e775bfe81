/**
 * Asks a Node process whose inspector is open on this network namespace's loopback to collect garbage, and prints
 * how many bytes of its heap are in use after that.
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

const socket = new WebSocket(await inspectorUrl())
const waiting = new Map<number, (result: unknown) => void>()
let last = 0

socket.addEventListener('message', ({ data }) => {
  const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown }
  if (id === undefined) return
  waiting.get(id)?.(result)
  waiting.delete(id)
})

async function ask(method: string): Promise<unknown> {
  const id = ++last
  const { promise, resolve } = Promise.withResolvers<unknown>()
  waiting.set(id, resolve)
  socket.send(JSON.stringify({ id, method }))
  return await promise
}

await new Promise((resolve) => {
  socket.addEventListener('open', resolve, { once: true })
})
await ask('HeapProfiler.collectGarbage')
const { usedSize } = (await ask('Runtime.getHeapUsage')) as { readonly usedSize: number }
process.stdout.write(`${usedSize}\n`)
socket.close()
