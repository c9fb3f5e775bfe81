import type { Clock, Timer } from '../runtime/clock.ts'

/** The first PING goes out after this time, each next one this long after an answer; in milliseconds. */
export const PING_INTERVAL_MS = 10_000
/** A PING that has no answer after this time means the peer is gone; in milliseconds. */
export const PING_TIMEOUT_MS = 20_000

/** What can be asked for a sign of life. */
export interface Pingable {
  readonly destroyed: boolean
  ping(callback: (error: Error | null) => void): unknown
}

/**
 * Asks the peer for a sign of life, whether or not there is traffic, and calls `onDead` once if none comes.
 * At most one PING and one timer exist at a time. A session that drains asks no more: node:http2 cancels each PING
 * after GOAWAY, and the tunnels that are still open must not end for that. Their peer's death is TCP's to notice.
 */
export class Keepalive {
  readonly #session: Pingable
  readonly #clock: Clock
  readonly #onDead: () => void
  #timer: Timer
  #stopped = false

  constructor(session: Pingable, clock: Clock, onDead: () => void) {
    this.#session = session
    this.#clock = clock
    this.#onDead = onDead
    this.#timer = clock.after(PING_INTERVAL_MS, this.#ping)
  }

  stop(): void {
    this.#stopped = true
    this.#timer.cancel()
  }

  #ping = (): void => {
    if (this.#stopped || this.#session.destroyed) return
    this.#timer = this.#clock.after(PING_TIMEOUT_MS, this.#dead)
    this.#session.ping((error) => {
      if (this.#stopped) return
      this.#timer.cancel()
      if (error === null) this.#timer = this.#clock.after(PING_INTERVAL_MS, this.#ping)
    })
  }

  #dead = (): void => {
    this.stop()
    this.#onDead()
  }
}
