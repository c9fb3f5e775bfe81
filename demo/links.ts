import { z } from 'zod'

const Quantiles = z.object({ p50: z.number(), p99: z.number(), count: z.number() })
const End = z.object({
  workload: z.string().optional(),
  namespace: z.string().optional(),
  version: z.string().optional(),
  identity: z.string().optional(),
  address: z.string().optional(),
})
const Row = z.object({
  direction: z.enum(['inbound', 'outbound']),
  source: End,
  destination: End,
  security: z.enum(['mutual_tls', 'plaintext']),
  connections: z.object({
    open: z.number(),
    total: z.number(),
    denied: z.number(),
    failed: z.number(),
  }),
  bytes: z.object({ received: z.number(), sent: z.number() }),
  setupMs: Quantiles.optional(),
  firstByteMs: Quantiles.optional(),
  idleMs: z.number(),
})
const Answer = z.object({ links: z.array(Row) })

type LinkEnd = z.infer<typeof End>

/** What the demo reads of a ztunnel's `/links`. */
export type Link = Readonly<z.infer<typeof Row>>

/** A caller and a callee, as all ztunnels together saw them. */
export interface Pair {
  readonly caller: string
  readonly callee: string
  readonly security: 'mutual_tls' | 'plaintext'
  readonly open: number
  readonly total: number
  readonly denied: number
  readonly bytes: number
  /** Milliseconds; undefined when nothing was measured lately. */
  readonly setupMs: Spread | undefined
  readonly firstByteMs: Spread | undefined
}

export interface Spread {
  readonly p50: number
  readonly p99: number
}

/** Parses the body of `/links`; throws what zod or JSON say if it is something else. */
export const parseLinks = (body: string): readonly Link[] => Answer.parse(JSON.parse(body)).links

/**
 * One row a pair, in order of their names, plaintext last. Both ends of a pair count it: what the caller's side says is shown, as it
 * includes the tunnel, and the callee's side only for callers outside the mesh. Denials are known at the callee.
 */
export function pairsOf(links: readonly Link[]): readonly Pair[] {
  const groups = Map.groupBy(links, (link) =>
    [callerOf(link), calleeOf(link), link.security].join('\n'),
  )
  return [...groups.values()]
    .map(pairOf)
    .sort(
      (a, b) =>
        compare(a.security, b.security) ||
        compare(a.caller, b.caller) ||
        compare(a.callee, b.callee),
    )
}

function pairOf(group: readonly Link[]): Pair {
  const ofCaller = group.filter((link) => link.direction === 'outbound')
  const ofCallee = group.filter((link) => link.direction === 'inbound')
  const shown = ofCaller.length > 0 ? ofCaller : ofCallee
  const busiest = shown.toSorted((a, b) => b.connections.total - a.connections.total)[0] ?? group[0]
  if (busiest === undefined) throw new RangeError('a pair without links')
  return {
    caller: callerOf(busiest),
    callee: calleeOf(busiest),
    security: busiest.security,
    open: sum(shown, (link) => link.connections.open),
    total: sum(shown, (link) => link.connections.total),
    denied: Math.max(
      sum(ofCaller, (link) => link.connections.denied),
      sum(ofCallee, (link) => link.connections.denied),
    ),
    bytes: sum(shown, (link) => link.bytes.received + link.bytes.sent),
    setupMs: busiest.setupMs,
    firstByteMs: busiest.firstByteMs,
  }
}

const callerOf = ({ source }: Link): string => nameOf(source)

/** With the version, where there are several. */
function calleeOf({ destination }: Link): string {
  const name = nameOf(destination)
  const { version, identity } = destination
  const isPlain = identity === undefined || version === undefined || version === ''
  return isPlain || version === 'latest' ? name : `${name} ${version}`
}

/** `namespace/service account` of a proven identity, else the pod or the address, which prove nothing. */
export function nameOf(end: LinkEnd): string {
  const { identity, workload, address } = end
  const parts = /^(?:spiffe:\/\/)?[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(identity ?? '')
  if (parts !== null) return `${parts[1]}/${parts[2]}`
  if (workload !== undefined) return `pod ${workload}`
  return address ?? 'unknown'
}

const sum = (links: readonly Link[], of: (link: Link) => number): number =>
  links.reduce((total, link) => total + of(link), 0)

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
