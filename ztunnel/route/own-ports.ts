import { isLoopback } from '../../shared/runtime/ip-address.ts'

/** The ports that ztunnel itself listens on in a pod: outbound, inbound plaintext, HBONE, SOCKS5. */
export const OWN_PORTS: ReadonlySet<number> = new Set([15_001, 15_006, 15_008, 15_080])

export const SELF_CALL = {
  code: 'ROUTE_SELF_CALL',
  error: 'attempted recursive call to ourselves',
} as const

/** A captured connection that we would dial back into ourselves, for ever (ztunnel spec 2.1, point 4). */
export const isRecursiveCall = (destination: { address: string; port: number }): boolean =>
  OWN_PORTS.has(destination.port) && isLoopback(destination.address)
