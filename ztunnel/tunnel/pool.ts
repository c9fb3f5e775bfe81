import { HboneError } from '../../shared/hbone/errors.ts'
import type {
  ConnectRequest,
  HboneClientConnection,
  OpenedTunnel,
} from '../../shared/hbone/tunnel.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'

/** Who talks to whom. Only keys with the same `id` share a connection, so it names everything that was verified. */
export interface PoolKey {
  readonly id: string
}

export interface TunnelPoolOptions<K extends PoolKey> {
  /** Makes a connection. `signal` aborts when nobody waits for it any more. */
  connect(key: K, signal: AbortSignal): Promise<HboneClientConnection>
  /** Tunnels in one connection at once, before another one is made; the peer's own limit counts as well. */
  readonly maxStreams: number
  /** How long a connection without tunnels is kept, in milliseconds. */
  readonly idleMs: number
  readonly clock: Clock
  readonly log: Log
}

export interface PooledTunnel {
  readonly tunnel: OpenedTunnel
  readonly connection: HboneClientConnection
}

/**
 * HBONE connections to be shared. For one key one connection is being made at a time, and all who wait share its
 * outcome. What is no longer usable is never handed out; what it carries lives on.
 */
export class TunnelPool<K extends PoolKey> implements Disposable {
  readonly #options: TunnelPoolOptions<K>
  readonly #groups = new Map<string, Group<K>>()
  /** Every connection that is not closed, also those that are drained. */
  readonly #live = new Set<HboneClientConnection>()
  #disposed = false

  constructor(options: TunnelPoolOptions<K>) {
    this.#options = options
  }

  get connections(): number {
    return this.#live.size
  }

  get tunnels(): number {
    let sum = 0
    for (const connection of this.#live) sum += connection.tunnels
    return sum
  }

  /**
   * Opens a tunnel on a shared or a new connection. Rejects with what `connect` or the answer failed with, or with
   * `HBONE_TIMEOUT` when `signal` aborts. A connection that existed before and fails without an answer may simply
   * have been dead for a while: then a new one is tried, once.
   */
  async open(key: K, request: ConnectRequest, signal: AbortSignal): Promise<PooledTunnel> {
    const reused = this.#findRoom(key.id)
    if (reused === undefined) return await this.#openOnNew(key, request, signal)
    try {
      return await this.#openOn(reused, request, signal)
    } catch (error) {
      if (signal.aborted || !maybeDead(error)) throw error
      this.#options.log.debug('retrying on a new HBONE connection', {
        peer: key.id,
        error: describeError(error),
      })
      // Its other tunnels go on, but nobody else shall have to find out.
      this.#retire(reused)
      return await this.#openOnNew(key, request, signal)
    }
  }

  /** Takes the connections of all matching keys out of reuse; their open tunnels live on. */
  drain(matches: (key: K) => boolean): void {
    for (const group of this.#groups.values()) {
      if (!matches(group.key)) continue
      for (const entry of group.entries) this.#retire(entry)
      group.attempt?.supersede()
      group.attempt = undefined
      this.#forgetIfEmpty(group)
    }
  }

  /** Takes every connection out of reuse, as after a rotation of the own certificate. */
  rekey(): void {
    this.drain(() => true)
  }

  /** Cuts everything. */
  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.rekey()
    const closing = poolClosed()
    for (const connection of this.#live) connection.destroy(closing)
  }

  #findRoom(id: string): Entry<K> | undefined {
    const group = this.#groups.get(id)
    if (group === undefined) return undefined
    for (const entry of group.entries) {
      const { connection } = entry
      if (!connection.usable) this.#retire(entry)
      else if (this.#hasRoom(connection)) return entry
    }
    return undefined
  }

  #hasRoom(connection: HboneClientConnection): boolean {
    return connection.tunnels < Math.min(this.#options.maxStreams, connection.maxTunnels)
  }

  /** Waits for a connection that is made from now on. Others may fill it first: then for the next one. */
  async #openOnNew(key: K, request: ConnectRequest, signal: AbortSignal): Promise<PooledTunnel> {
    let useless = 0
    for (;;) {
      if (this.#disposed) throw poolClosed()
      const entry = await this.#attemptFor(key).wait(signal)
      if (entry === undefined) continue
      const { connection } = entry
      if (!connection.usable || connection.maxTunnels < 1) {
        // Drained in this very moment, or a peer that sends everybody away.
        if (++useless > 1) throw new HboneError('HBONE_REFUSED_STREAM', 'the peer takes no tunnels')
        continue
      }
      const open = this.#hasRoom(connection) ? entry : this.#findRoom(key.id)
      if (open === undefined) continue
      try {
        return await this.#openOn(open, request, signal)
      } catch (error) {
        // Drained while the request was on its way: the peer has not even looked at it (RFC 9113, section 8.7).
        if (signal.aborted || !isRefused(error) || ++useless > 1) throw error
        this.#retire(open)
      }
    }
  }

  async #openOn(
    entry: Entry<K>,
    request: ConnectRequest,
    signal: AbortSignal,
  ): Promise<PooledTunnel> {
    const { connection } = entry
    entry.idle?.cancel()
    entry.idle = undefined
    try {
      const tunnel = await connection.open(request, signal)
      void tunnel.closed.then(() => this.#restOf(entry))
      return { tunnel, connection }
    } catch (error) {
      this.#restOf(entry)
      throw error
    }
  }

  /** Starts the idle time of a connection whose last tunnel has ended. */
  #restOf(entry: Entry<K>): void {
    const { clock, idleMs } = this.#options
    entry.idle?.cancel()
    entry.idle = undefined
    if (!entry.group.entries.has(entry)) return
    entry.idle = clock.after(idleMs, () => {
      if (entry.connection.tunnels === 0) this.#retire(entry)
    })
  }

  #attemptFor(key: K): Attempt<K> {
    let group = this.#groups.get(key.id)
    if (group === undefined) {
      group = { key, entries: new Set(), attempt: undefined }
      this.#groups.set(key.id, group)
    }
    group.attempt ??= this.#startAttempt(group)
    return group.attempt
  }

  #startAttempt(group: Group<K>): Attempt<K> {
    const attempt = new Attempt<K>(() => {
      if (group.attempt === attempt) group.attempt = undefined
      this.#forgetIfEmpty(group)
    })
    void this.#run(attempt, group)
    return attempt
  }

  async #run(attempt: Attempt<K>, group: Group<K>): Promise<void> {
    try {
      const connection = await this.#options.connect(group.key, attempt.signal)
      this.#live.add(connection)
      void connection.closed.then(() => this.#live.delete(connection))
      if (attempt.over) {
        connection.destroy(new HboneError('HBONE_CLOSED', 'nobody waits for this connection'))
        return
      }
      const entry: Entry<K> = { connection, group, idle: undefined }
      group.entries.add(entry)
      void connection.closed.then(() => this.#retire(entry))
      this.#restOf(entry)
      attempt.succeed(entry)
    } catch (error) {
      attempt.fail(error)
    }
  }

  #retire(entry: Entry<K>): void {
    entry.idle?.cancel()
    entry.idle = undefined
    if (!entry.group.entries.delete(entry)) return
    entry.connection.drain()
    this.#forgetIfEmpty(entry.group)
  }

  #forgetIfEmpty(group: Group<K>): void {
    if (group.entries.size > 0 || group.attempt !== undefined) return
    if (this.#groups.get(group.key.id) === group) this.#groups.delete(group.key.id)
  }
}

interface Group<K extends PoolKey> {
  readonly key: K
  readonly entries: Set<Entry<K>>
  attempt: Attempt<K> | undefined
}

interface Entry<K extends PoolKey> {
  readonly connection: HboneClientConnection
  readonly group: Group<K>
  idle: Timer | undefined
}

type Waiter<K extends PoolKey> = {
  readonly resolve: (entry: Entry<K> | undefined) => void
  readonly reject: (error: unknown) => void
}

/** One connection being made, and those who wait for it. */
class Attempt<K extends PoolKey> {
  readonly #controller = new AbortController()
  readonly #waiters = new Set<Waiter<K>>()
  readonly #onOver: () => void
  #over = false

  /** `onOver` is called once, when the outcome is known or nobody waits any more. */
  constructor(onOver: () => void) {
    this.#onOver = onOver
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get over(): boolean {
    return this.#over
  }

  /** `undefined`: the attempt was superseded, and another one has to be made. */
  wait(signal: AbortSignal): Promise<Entry<K> | undefined> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter)
        signal.removeEventListener('abort', onAbort)
        reject(gaveUp(signal))
        if (this.#waiters.size > 0) return
        this.#finish()
        this.#controller.abort(gaveUp(signal))
      }
      const waiter: Waiter<K> = {
        resolve: (entry) => {
          signal.removeEventListener('abort', onAbort)
          resolve(entry)
        },
        reject: (error) => {
          signal.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      this.#waiters.add(waiter)
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) onAbort()
    })
  }

  succeed(entry: Entry<K>): void {
    for (const waiter of this.#finish()) waiter.resolve(entry)
  }

  fail(error: unknown): void {
    for (const waiter of this.#finish()) waiter.reject(error)
  }

  supersede(): void {
    const waiters = this.#finish()
    this.#controller.abort(new HboneError('HBONE_CLOSED', 'the pool was drained'))
    for (const waiter of waiters) waiter.resolve(undefined)
  }

  #finish(): Waiter<K>[] {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    if (!this.#over) {
      this.#over = true
      this.#onOver()
    }
    return waiters
  }
}

/** Failures that a connection shows whose peer went away, or is about to, without a word. */
function maybeDead(error: unknown): boolean {
  if (!(error instanceof HboneError)) return false
  return error.code === 'HBONE_CLOSED' || error.code === 'HBONE_RESET' || isRefused(error)
}

const isRefused = (error: unknown): boolean =>
  error instanceof HboneError && error.code === 'HBONE_REFUSED_STREAM'

function gaveUp(signal: AbortSignal): HboneError {
  return new HboneError('HBONE_TIMEOUT', 'gave up while the HBONE connection was made', {
    cause: signal.reason,
  })
}

const poolClosed = (): HboneError => new HboneError('HBONE_CLOSED', 'the pool is closed')
