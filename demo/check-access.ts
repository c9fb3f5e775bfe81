import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { z } from 'zod'
import { AmbitError } from '../shared/runtime/errors.ts'
import { pause } from '../shared/runtime/lifecycle.ts'
import type { RunningShop } from './running-shop.ts'
import { failed, passed, type Verdict } from './verdict.ts'

const LOOK_MS = 20
/** How long a change is watched for; the issue is whether it came in time. */
const WATCH_MS = 5_000
const IN_TIME_MS = 1_000
/** A change that takes a whole namespace has more to tell the pods. */
const STRICT_IN_TIME_MS = 2_000
const CALLS_WITHOUT_CONTROL_PLANE = 10

const WhoAmI = z.object({ app: z.string(), pod: z.string(), peer: z.string() })

/** The address that the application sees as its peer's, over IPv4 by a service and over IPv6 by a pod's address. */
export async function checkPeerAddress(shop: RunningShop): Promise<Verdict> {
  const { address4, address6 } = shop.pod('frontend').place
  const calls = [
    { url: 'http://payments/', wanted: address4 },
    { url: `http://[${shop.pod('payments-v2').place.address6}]:8080/`, wanted: address6 },
  ]
  const seen: string[] = []
  for (const { url, wanted } of calls) {
    const { code, stdout, stderr } = await shop.curl('frontend', url)
    if (code !== 0) return failed(`frontend to ${url}: ${stderr.trim()}`)
    const { pod, peer } = WhoAmI.parse(JSON.parse(stdout))
    if (peer !== wanted) return failed(`${pod} sees ${peer}, frontend is ${wanted}`)
    seen.push(`${pod} sees ${peer}`)
  }
  return passed(`${seen.join(', ')}: the frontend pod`)
}

/** The edit that the demo offers: the policy of payments, by the command that it prints. */
export async function checkPolicy(shop: RunningShop): Promise<Verdict> {
  const { onlyOrders, everyoneAgain } = shop.things
  const change = { edit: onlyOrders, undo: everyoneAgain, caller: 'analytics' }
  return await refusedWhile(shop, { ...change, inTimeMs: IN_TIME_MS })
}

/** The pod outside the mesh, before and after plaintext is forbidden, and allowed again. */
export async function checkStrict(shop: RunningShop): Promise<Verdict> {
  const { strict, permissive } = shop.things
  const change = { edit: strict, undo: permissive, caller: 'legacy' }
  return await refusedWhile(shop, { ...change, inTimeMs: STRICT_IN_TIME_MS })
}

interface Change {
  readonly edit: string
  readonly undo: string
  /** Who may call payments before it and after it is undone, and not in between. */
  readonly caller: string
  readonly inTimeMs: number
}

async function refusedWhile(shop: RunningShop, change: Change): Promise<Verdict> {
  const { edit, undo, caller, inTimeMs } = change
  if (!(await isAllowed(shop, caller))) return failed(`${caller} is refused from the start`)
  let refused: number | undefined
  let ordersAllowed: boolean
  let allowed: number | undefined
  try {
    refused = await after(edit, async () => await isRefused(shop, caller))
    ordersAllowed = await isAllowed(shop, 'orders')
  } finally {
    allowed = await after(undo, async () => await isAllowed(shop, caller))
  }
  if (refused === undefined) return failed(`${caller} is still allowed ${WATCH_MS} ms after saving`)
  if (!ordersAllowed) return failed(`${caller} is refused, but orders too`)
  if (allowed === undefined)
    return failed(`${caller} is still refused ${WATCH_MS} ms after undoing`)
  const seen = `${caller} refused ${refused} ms after saving, orders allowed; ${caller} allowed ${allowed} ms after undoing`
  return Math.max(refused, allowed) <= inTimeMs ? passed(seen) : failed(`${seen}: too late`)
}

/** A protocol that is not HTTP. */
export async function checkRedis(shop: RunningShop): Promise<Verdict> {
  const { place } = shop.pod('inventory')
  const value = randomBytes(8).toString('hex')
  const redis = async (...args: readonly string[]): Promise<string> => {
    const all = ['-h', 'redis', ...args]
    const { code, stdout, stderr } = await place.exec('redis-cli', all, { hosts: true })
    return code === 0 ? stdout.trim() : `error: ${stderr.trim()}`
  }
  const set = await redis('set', 'check', value)
  const got = await redis('get', 'check')
  const seen = `inventory wrote: ${set}, read back: ${got}`
  return set === 'OK' && got === value ? passed(seen) : failed(seen)
}

/** New connections while nobody can be asked. */
export async function checkWithoutControlPlane(shop: RunningShop): Promise<Verdict> {
  const { controlPlane } = shop.mesh
  controlPlane.kill('SIGKILL')
  await controlPlane.exited
  for (let call = 1; call <= CALLS_WITHOUT_CONTROL_PLANE; call++) {
    const from = call % 2 === 0 ? 'frontend' : 'analytics'
    const { code, stderr } = await shop.curl(from, 'http://payments/')
    if (code !== 0) return failed(`call ${call}, ${from} to payments: ${stderr.trim()}`)
  }
  return passed(
    `control plane killed, ${CALLS_WITHOUT_CONTROL_PLANE} of ${CALLS_WITHOUT_CONTROL_PLANE} new connections worked`,
  )
}

/** Runs an edit and waits until it shows; gives the milliseconds from then to the begin of the call that showed it. */
async function after(command: string, shows: () => Promise<boolean>): Promise<number | undefined> {
  await shell(command)
  const saved = performance.now()
  for (;;) {
    const began = performance.now()
    if (began - saved > WATCH_MS) return undefined
    if (await shows()) return Math.round(began - saved)
    await pause(LOOK_MS)
  }
}

/** Whether calls reach every pod of payments, or none: one half of a change is no change. */
const isAllowed = async (shop: RunningShop, from: string): Promise<boolean> =>
  (await outcomes(shop, from)).every((allowed) => allowed)

const isRefused = async (shop: RunningShop, from: string): Promise<boolean> =>
  (await outcomes(shop, from)).every((allowed) => !allowed)

async function outcomes(shop: RunningShop, from: string): Promise<readonly boolean[]> {
  const targets = ['payments-v1', 'payments-v2'].map((name) => shop.pod(name).place.address4)
  const calls = targets.map((address) => shop.curl(from, `http://${address}:8080/`))
  return (await Promise.all(calls)).map(({ code }) => code === 0)
}

async function shell(command: string): Promise<void> {
  const child = spawn('sh', ['-c', command], { stdio: 'ignore', timeout: 5_000 })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new AmbitError('DEMO_EDIT', `${command}: failed`)
}
