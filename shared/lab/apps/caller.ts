import { Agent, request } from 'node:http'
import { connect } from 'node:net'

const TIMEOUT_MS = 3_000
/** More than this many open calls, and the next ones are left out until some have ended. */
const MOST_OPEN = 16

interface Call {
  readonly perSecond: number
  readonly keepAlive: boolean
  readonly url: URL
}

/**
 * Calls other services, steadily, as an application does that has users. Each spec is `RATE URL` or
 * `RATE keepalive URL`, the rate in calls a second; `http:` gets a page, `redis:` counts a key up. Failures are the
 * network's business: the next call comes all the same. Throws for a spec of another form.
 */
export function startCalls(specs: readonly string[]): { stop(): void } {
  const stopped = new AbortController()
  const agents = { on: new Agent({ keepAlive: true, maxSockets: 1 }), off: new Agent() }
  const timers = specs.map(parseCall).map((call) => {
    let open = 0
    return setInterval(() => {
      if (open >= MOST_OPEN) return
      open++
      const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(TIMEOUT_MS)])
      const agent = call.keepAlive ? agents.on : agents.off
      const done =
        call.url.protocol === 'redis:' ? count(call.url, signal) : get(call.url, agent, signal)
      void done.finally(() => open--)
    }, 1_000 / call.perSecond).unref()
  })
  return {
    stop() {
      for (const timer of timers) clearInterval(timer)
      stopped.abort()
      agents.on.destroy()
    },
  }
}

function parseCall(spec: string): Call {
  const parts = /^(\d+(?:\.\d+)?) (keepalive )?(\S+)$/.exec(spec)
  const url = URL.parse(parts?.[3] ?? '')
  const perSecond = Number(parts?.[1] ?? 0)
  const isKnown = url?.protocol === 'http:' || url?.protocol === 'redis:'
  if (url === null || !isKnown || perSecond <= 0) {
    throw new TypeError(`call '${spec}': use 'RATE URL' or 'RATE keepalive URL'`)
  }
  return { perSecond, keepAlive: parts?.[2] !== undefined, url }
}

function get(url: URL, agent: Agent, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const call = request(url, { agent, signal }, (response) => {
      response.on('error', () => undefined)
      response.resume()
    })
    call.on('error', () => undefined)
    call.once('close', resolve)
    call.end()
  })
}

/** Reads the count and says goodbye, so that the server is the one to close. */
function count(url: URL, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({
      host: url.hostname,
      port: Number(url.port === '' ? '6379' : url.port),
      signal,
    })
    socket.on('error', () => undefined)
    socket.once('close', () => resolve())
    socket.resume()
    socket.write('INCR lookups\r\nQUIT\r\n')
  })
}
