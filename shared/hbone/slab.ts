/** Room for what one turn of the event loop sends; TLS gets it in one piece. */
export const SLAB_BYTES = 256 * 1024
/** What most turns of a quiet connection need. */
const SMALL_SLAB_BYTES = 16 * 1024

const SPARES = { large: 16, small: 64 } as const
const largeSpares: Buffer[] = []
const smallSpares: Buffer[] = []

/** Memory for at least `bytes` bytes (at most `SLAB_BYTES` of a pool; more is made for the purpose). */
export function takeSlab(bytes: number): Buffer {
  if (bytes <= SMALL_SLAB_BYTES)
    return smallSpares.pop() ?? Buffer.allocUnsafeSlow(SMALL_SLAB_BYTES)
  if (bytes <= SLAB_BYTES) return largeSpares.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES)
  return Buffer.allocUnsafeSlow(bytes)
}

/** Nobody may read or write `slab` after this. */
export function giveSlab(slab: Buffer): void {
  if (slab.length === SLAB_BYTES && largeSpares.length < SPARES.large) largeSpares.push(slab)
  if (slab.length === SMALL_SLAB_BYTES && smallSpares.length < SPARES.small) smallSpares.push(slab)
}
