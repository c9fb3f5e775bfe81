import type { MemoryAccount } from './memory-account.ts'

/** Every stream starts with this window (RFC 9113 section 6.9.2), in bytes. */
export const START_WINDOW_BYTES = 256 * 1024
/** No stream's window grows beyond this. */
export const MAX_WINDOW_BYTES = 4 * 1024 * 1024
/** What all streams of a connection together may have above their start. */
export const GROWTH_BYTES = 16 * 1024 * 1024

/** Bytes that arrive between two probes that found nothing to grow for. */
const MAX_PROBE_DISTANCE = 64 * 1024 * 1024

/** The growth that the streams of one connection share. */
export class WindowShares {
  readonly limit: number
  readonly #memory: MemoryAccount
  used = 0

  constructor(limit: number, memory: MemoryAccount) {
    this.limit = limit
    this.#memory = memory
  }

  /** What is left to grow by; nothing while memory is short anywhere. */
  get left(): number {
    return this.#memory.relaxed ? Math.max(0, this.limit - this.used) : 0
  }
}

/**
 * How much the peer may send on one stream: what it may still send and what waits here for its reader never exceed
 * `target` (after a target has shrunk: its former value, until the bytes are read). The target follows the measured
 * bandwidth-delay product: if during one round trip more than half of the window arrived, the window was (nearly) the
 * limit, and doubles. A stream whose reader falls behind goes back to the start.
 */
export class ReceiveWindow {
  readonly #shares: WindowShares
  readonly #max: number
  readonly #start: number
  #target: number
  /** What the peer may still send. */
  #credit: number
  #share = 0
  #sinceProbe = 0
  #probeDistance: number
  #probed = -1

  constructor(shares: WindowShares, start: number, max: number) {
    this.#shares = shares
    this.#start = start
    this.#target = start
    this.#credit = start
    this.#max = max
    this.#probeDistance = start / 4
  }

  get target(): number {
    return this.#target
  }

  /** `bytes` came, padding included. False if the peer had no right to send them. */
  arrived(bytes: number): boolean {
    this.#credit -= bytes
    this.#sinceProbe += bytes
    if (this.#probed >= 0) this.#probed += bytes
    return this.#credit >= 0
  }

  /** True when it is time to measure. */
  get wantsProbe(): boolean {
    return this.#sinceProbe >= this.#probeDistance && this.#target < this.#max
  }

  beginProbe(): void {
    this.#probed = 0
    this.#sinceProbe = 0
  }

  /** One round trip after `beginProbe`. */
  endProbe(): void {
    const arrived = this.#probed
    this.#probed = -1
    if (arrived * 2 < this.#target) {
      this.#probeDistance = Math.min(this.#probeDistance * 2, MAX_PROBE_DISTANCE)
      return
    }
    const room = Math.min(this.#max - this.#target, this.#shares.left)
    this.#target += Math.min(room, this.#target)
    this.#probeDistance = this.#target / 4
  }

  /** With so many bytes still unread, the increment for a WINDOW_UPDATE; 0 when it is not worth a frame yet. */
  update(unread: number): number {
    if (unread > this.#start && this.#target > this.#start) {
      this.#target = this.#start
      this.#probeDistance = this.#start / 4
    }
    const increment = this.#target - unread - this.#credit
    const worthwhile = increment * 2 >= this.#target
    if (worthwhile) this.#credit += increment
    this.#settle(unread)
    return worthwhile ? increment : 0
  }

  /** The stream is over. */
  release(): void {
    this.#shares.used -= this.#share
    this.#share = 0
  }

  #settle(unread: number): void {
    const share = Math.max(this.#target, this.#credit + unread) - this.#start
    this.#shares.used += share - this.#share
    this.#share = share
  }
}
