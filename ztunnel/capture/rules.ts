import { createHash } from 'node:crypto'

/**
 * The rules that bring a pod's connections to ztunnel, as text (ztunnel spec, section 6.4). Pure: `redirect.ts`
 * applies them.
 *
 * What the marks are for: sockets of ztunnel carry `MARK`, so they are not captured again. When ztunnel calls the
 * application with the caller's source address, the packets pass `lo` with that mark and the connection is marked
 * `REPLY_MARK`; the application's replies, addressed to a foreign host, then get the same mark and are routed back
 * to `lo` by `REPLY_TABLE` instead of leaving the pod.
 */

/** SO_MARK of every socket that ztunnel makes in a pod. */
export const MARK = 0x539
const REPLY_MARK = 0x111
const MARK_MASK = 0xfff
const REPLY_TABLE = 100
const RULE_PRIORITY = 32_764

export const PORTS = { outbound: 15_001, inboundPlaintext: 15_006, hbone: 15_008 } as const

const TABLE = 'inet ambit'

const LONGEST_COMMENT = 128

/** A name, which has neither quotes nor backslashes, as long as it fits. */
const ownerNote = (node: string): string =>
  node.length <= LONGEST_COMMENT ? node : createHash('sha256').update(node).digest('hex')

const hex = (value: number): string => `0x${value.toString(16)}`
const has = (field: string, mark: number): string => `${field} & ${hex(MARK_MASK)} == ${hex(mark)}`

/**
 * Only the first packet of a connection is redirected: a connection that was open before capture began is unknown to
 * connection tracking, and its next packet must not be mistaken for a new one.
 */
const FIRST_PACKET = 'tcp flags & (fin | syn | rst | ack) == syn'

/** Hooks outlive their rules: address translation of open connections stops when its last hook goes. */
const CHAINS = `
table ${TABLE} {
  chain mark_calls { type filter hook prerouting priority -150; policy accept; }
  chain mark_replies { type route hook output priority -150; policy accept; }
  chain redirect_inbound { type nat hook prerouting priority -100; policy accept; }
  chain redirect_outbound { type nat hook output priority -100; policy accept; }
}
`

const markRules = (node: string): string => `
table ${TABLE} {
  chain mark_calls {
    ${has('meta mark', MARK)} ct mark set ${hex(REPLY_MARK)} comment "${ownerNote(node)}"
  }
  chain mark_replies {
    ${has('ct mark', REPLY_MARK)} meta mark set ${hex(REPLY_MARK)}
  }
}
`

const REDIRECT_RULES = `
table ${TABLE} {
  chain redirect_inbound {
    ${has('meta mark', MARK)} return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    tcp dport ${PORTS.hbone} return
    ${FIRST_PACKET} redirect to :${PORTS.inboundPlaintext}
  }
  chain redirect_outbound {
    ${has('meta mark', MARK)} return
    ${has('meta mark', REPLY_MARK)} return
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    ${FIRST_PACKET} redirect to :${PORTS.outbound}
  }
}
`

/** Puts full capture for a node in place, in one transaction, whatever rules of ours were there before. */
export const captureRuleset = (node: string): string =>
  `${CHAINS}flush table ${TABLE}\n${markRules(node)}${REDIRECT_RULES}`

/** First step of letting go: nothing new is redirected, open connections keep their marks and translation. */
export const releaseRuleset = (node: string): string =>
  `${CHAINS}flush table ${TABLE}\n${markRules(node)}`

/** Arguments of `nft` that list where the owner is noted. */
export const LIST_OWNER = ['list', 'chain', 'inet', 'ambit', 'mark_calls'] as const

/** Whether what `LIST_OWNER` printed is of this node. One machine may have several, with their pods side by side. */
export const isOwner = (listing: string, node: string): boolean =>
  listing.includes(`comment "${ownerNote(node)}"`)

/** Last step: nothing of ours remains. */
export const removeRuleset = `table ${TABLE}\ndelete table ${TABLE}\n`

/** Commands for `ip -4 -batch` or `ip -6 -batch`; harmless when repeated with `-force`. */
export const routingCommands = (family: 4 | 6): string =>
  [
    `rule add fwmark ${hex(REPLY_MARK)}/${hex(MARK_MASK)} priority ${RULE_PRIORITY} lookup ${REPLY_TABLE}`,
    `route replace local ${family === 4 ? '0.0.0.0/0' : '::/0'} dev lo table ${REPLY_TABLE}`,
    '',
  ].join('\n')

/** The same for both families. */
export const removeRoutingCommands = `rule del priority ${RULE_PRIORITY}\nroute flush table ${REPLY_TABLE}\n`
