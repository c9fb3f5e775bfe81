export const NODES = ['node-1', 'node-2'] as const

/** So that each kind of path is there: on one node and across, in the mesh and from outside. */
const HOMES: Readonly<Record<string, (typeof NODES)[number]>> = {
  frontend: 'node-1',
  orders: 'node-1',
  'payments-v1': 'node-1',
  legacy: 'node-1',
  'payments-v2': 'node-2',
  inventory: 'node-2',
  analytics: 'node-2',
  redis: 'node-2',
}

/** The node of a pod; pods that were added to the sample go to the last one. */
export const nodeOf = (pod: string): (typeof NODES)[number] => HOMES[pod] ?? 'node-2'

/**
 * What each pod does all day: calls a second, and where to. A new connection each, so that a change of policy shows at
 * once, unless `keepAlive`. The legacy pod is outside the mesh, where service addresses lead nowhere: it calls pods.
 */
export const CALLS: Readonly<Record<string, readonly Call[]>> = {
  frontend: [
    { perSecond: 3, url: 'http://orders/call?keepalive=off&url=http://payments/' },
    { perSecond: 2, url: 'http://orders/', keepAlive: true },
  ],
  orders: [{ perSecond: 2, url: 'http://inventory/' }],
  inventory: [{ perSecond: 2, url: 'redis://redis:6379/' }],
  analytics: [{ perSecond: 2, url: 'http://payments/' }],
  legacy: [
    { perSecond: 1, url: 'http://inventory:8080/' },
    { perSecond: 2, url: 'http://payments:8080/' },
  ],
}

export interface Call {
  readonly perSecond: number
  readonly url: string
  readonly keepAlive?: boolean
}
