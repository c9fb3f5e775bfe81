import type { Clock, Timer } from '../runtime/clock.ts'

/** The first PING goes out after this time, each next one this long after an answer; in milliseconds. */
export const PING_INTERVAL_MS = 10_000
/** A PING that has no answer after this time means the peer is gone; in milliseconds. */
export const PING_TIMEOUT_MS = 20_000

/** What can be asked for a sign of life. */
export interface Pingable {
  readonly destroyed: boolean
  /** `onAnswer` is called once, unless the connection ends before. */
  ping(onAnswer: () => void): void
}

/**
 * Asks the peer for a sign of life, whether or not there is traffic, and calls `onDead` once if none comes.
 * At most one PING and one timer exist at a time.
 */
export class Keepalive {
  readonly #connection: Pingable
  readonly #clock: Clock
  readonly #onDead: () => void
  #timer: Timer
  #stopped = false

  constructor(connection: Pingable, clock: Clock, onDead: () => void) {
    this.#connection = connection
    this.#clock = clock
    this.#onDead = onDead
    this.#timer = clock.after(PING_INTERVAL_MS, this.#ping)
  }

  stop(): void {
    this.#stopped = true
    this.#timer.cancel()
  }

  #ping = (): void => {
    if (this.#stopped || this.#connection.destroyed) return
    this.#timer = this.#clock.after(PING_TIMEOUT_MS, this.#dead)
    this.#connection.ping(() => {
      if (this.#stopped) return
      this.#timer.cancel()
      this.#timer = this.#clock.after(PING_INTERVAL_MS, this.#ping)
    })
  }

  #dead = (): void => {
    this.stop()
    this.#onDead()
  }
}
