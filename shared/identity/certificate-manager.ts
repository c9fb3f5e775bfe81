import { Backoff } from '../runtime/backoff.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import { AmbitError, describeError } from '../runtime/errors.ts'
import type { Component } from '../runtime/lifecycle.ts'
import type { Log } from '../runtime/log.ts'
import { type CertificateDump, dumpCertificates } from './certificate-dump.ts'
import type { CertificateSource } from './certificate-source.ts'
import { createKeyAndCsr } from './csr.ts'
import { checkMaterial, expiryOf, type IdentityMaterial } from './identity-material.ts'
import { IssueQueue } from './issue-queue.ts'
import { parseSpiffeId } from './spiffe.ts'

export type { IdentityMaterial } from './identity-material.ts'

export interface CertificateManagerOptions {
  readonly source: CertificateSource
  readonly clock: Clock
  readonly log: Log
  /** Between 0 and 1, for the jitter of retries; `Math.random` unless a test says otherwise. */
  readonly random?: () => number
}

type RotationListener = (identity: string, material: IdentityMaterial) => void

const ISSUES_AT_ONCE = 8
const MAX_IDENTITIES = 10_000
const MAX_WAITERS = 10_000
/** Certificates kept in memory though no pod has their identity at the moment. */
const MAX_RETIRED = 256
const MIN_RENEWAL_MS = 1_000
const RETRY = { firstMs: 1_000, maxMs: 150_000 }
/** While somebody waits, the next try is never further away than this after the last failure. */
const URGENT_RETRY_MS = 1_000

interface Waiter {
  resolve(material: IdentityMaterial): void
  reject(error: unknown): void
}

interface Entry {
  readonly identity: string
  /** How many pods have it. */
  wants: number
  /** `resting`: nothing to do but what `timer` will start. */
  phase: 'resting' | 'queued' | 'issuing'
  material: IdentityMaterial | undefined
  /** Of the last try, when it failed. */
  error: string | undefined
  /** Monotonic. */
  failedAtMs: number | undefined
  timer: Timer | undefined
  readonly backoff: Backoff
  readonly waiters: Set<Waiter>
  readonly stop: AbortController
}

/**
 * Holds one certificate per wanted identity and renews it when half of the lifetime that it had at its issue has
 * passed. When the CA fails, the old one serves until it expires; callers wait for the retries rather than being
 * refused on the ground of an earlier failure.
 *
 * A forgotten identity keeps its certificate, unrenewed, until it expires: a pod that is made anew while the
 * control plane is away gets it back.
 */
export class CertificateManager implements Component {
  readonly name = 'certificates'
  readonly #options: CertificateManagerOptions
  readonly #entries = new Map<string, Entry>()
  readonly #listeners = new Set<RotationListener>()
  readonly #queue = new IssueQueue(ISSUES_AT_ONCE, (identity) => this.#attempt(identity))
  #closed = false

  constructor(options: CertificateManagerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    await Promise.resolve()
  }

  /** Open connections may still need certificates, so a drain changes nothing here. */
  async drain(): Promise<void> {
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    for (const entry of this.#entries.values()) {
      entry.timer?.cancel()
      this.#queue.remove(entry.identity)
      entry.stop.abort(closedError())
      for (const waiter of entry.waiters) waiter.reject(closedError())
    }
    this.#entries.clear()
    this.#listeners.clear()
    await Promise.resolve()
  }

  /** A pod has this identity now: gets its certificate in advance, and keeps it fresh until as many `forget`s. */
  want(identity: string): void {
    try {
      const entry = this.#entryOf(identity)
      entry.wants++
      if (entry.wants > 1) return
      if (this.current(identity) === undefined) this.#begin(entry, false)
      else if (entry.phase === 'resting') this.#planRenewal(entry)
    } catch (error) {
      this.#options.log.error('no certificate for a pod', { identity, error: describeError(error) })
    }
  }

  /** The inverse of `want`; more of them do nothing. */
  forget(identity: string): void {
    const entry = this.#entries.get(identity)
    if (entry === undefined || entry.wants === 0) return
    entry.wants--
    this.#retireIfUnused(entry)
  }

  /** The certificate in force, never an expired one. */
  current(identity: string): IdentityMaterial | undefined {
    const material = this.#entries.get(identity)?.material
    return material !== undefined && isValid(material, this.#options.clock) ? material : undefined
  }

  /**
   * The certificate in force, or the next one issued. Waits as long as `signal` lets it, through failed tries.
   * Rejects with the reason of `signal`, or `CERTIFICATE_IDENTITY`, `CERTIFICATE_TOO_MANY`, `CERTIFICATE_CLOSED`.
   */
  async certificateFor(identity: string, signal: AbortSignal): Promise<IdentityMaterial> {
    const material = this.current(identity)
    if (material !== undefined) return material
    signal.throwIfAborted()
    if (this.#closed) throw closedError()
    const entry = this.#entryOf(identity)
    if (entry.waiters.size >= MAX_WAITERS) throw tooMany('connections wait for a certificate')
    try {
      return await this.#nextIssue(entry, signal)
    } finally {
      this.#retireIfUnused(entry)
    }
  }

  /** Calls `listener` with every new certificate, the first ones included; returns how to stop that. */
  onRotate(listener: RotationListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** For the config dump: identities in use, in order of name. */
  dump(): CertificateDump[] {
    return [...this.#entries.values()]
      .filter(isUsed)
      .sort((a, b) => (a.identity < b.identity ? -1 : 1))
      .map((entry) => {
        const material = this.current(entry.identity)
        return dumpCertificates(entry.identity, stateOf(entry, material), material)
      })
  }

  #entryOf(identity: string): Entry {
    const known = this.#entries.get(identity)
    if (known !== undefined) return known
    if (this.#closed) throw closedError()
    if (parseSpiffeId(identity) === undefined) {
      throw new AmbitError('CERTIFICATE_IDENTITY', `not a SPIFFE id of a workload: ${identity}`)
    }
    if (this.#entries.size >= MAX_IDENTITIES) throw tooMany('identities on this node')
    const { random } = this.#options
    const entry: Entry = {
      identity,
      wants: 0,
      phase: 'resting',
      material: undefined,
      error: undefined,
      failedAtMs: undefined,
      timer: undefined,
      backoff: new Backoff(random === undefined ? RETRY : { ...RETRY, random }),
      waiters: new Set(),
      stop: new AbortController(),
    }
    this.#entries.set(identity, entry)
    return entry
  }

  #nextIssue(entry: Entry, signal: AbortSignal): Promise<IdentityMaterial> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        entry.waiters.delete(waiter)
        signal.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => waiter.reject(signal.reason)
      const waiter: Waiter = {
        resolve: (material) => {
          settle()
          resolve(material)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      entry.waiters.add(waiter)
      signal.addEventListener('abort', onAbort)
      this.#hurry(entry)
    })
  }

  /** Brings a planned try forward, to right now or the least time after a failure. */
  #hurry(entry: Entry): void {
    if (entry.phase === 'issuing') return
    const now = this.#options.clock.monotonicMs()
    const wait = entry.failedAtMs === undefined ? 0 : entry.failedAtMs + URGENT_RETRY_MS - now
    if (wait <= 0) this.#begin(entry, true)
    else this.#beginAfter(entry, wait)
  }

  #begin(entry: Entry, urgent: boolean): void {
    if (entry.phase === 'issuing') return
    entry.timer?.cancel()
    entry.timer = undefined
    entry.phase = 'queued'
    this.#queue.add(entry.identity, urgent)
  }

  #beginAfter(entry: Entry, ms: number): void {
    entry.timer?.cancel()
    entry.timer = this.#options.clock.after(ms, () => this.#begin(entry, entry.waiters.size > 0))
  }

  async #attempt(identity: string): Promise<void> {
    const entry = this.#entries.get(identity)
    if (entry === undefined) return
    entry.phase = 'issuing'
    const { source, clock } = this.#options
    try {
      const { keyPem, csrPem } = createKeyAndCsr(identity)
      const issued = await source.issue(identity, csrPem, entry.stop.signal)
      entry.phase = 'resting'
      if (!this.#closed)
        this.#install(entry, checkMaterial(identity, keyPem, issued, clock.wallMs()))
    } catch (error) {
      entry.phase = 'resting'
      if (!this.#closed) this.#fail(entry, error)
    }
  }

  #install(entry: Entry, material: IdentityMaterial): void {
    const { identity } = entry
    const [leaf] = material.chain
    entry.material = material
    entry.error = undefined
    entry.failedAtMs = undefined
    entry.backoff.reset()
    this.#planRenewal(entry)
    this.#options.log.info('certificate issued', {
      identity,
      serial: leaf.serialNumber,
      expires: new Date(leaf.notAfterMs).toISOString(),
    })
    for (const listener of this.#listeners) this.#tell(listener, identity, material)
    for (const waiter of entry.waiters) waiter.resolve(material)
    this.#retireIfUnused(entry)
  }

  #tell(listener: RotationListener, identity: string, material: IdentityMaterial): void {
    try {
      listener(identity, material)
    } catch (error) {
      this.#options.log.error('a listener for certificates failed', {
        identity,
        error: describeError(error),
      })
    }
  }

  #fail(entry: Entry, error: unknown): void {
    entry.error = describeError(error)
    entry.failedAtMs = this.#options.clock.monotonicMs()
    const planned = entry.backoff.nextMs()
    const wait = entry.waiters.size > 0 ? Math.min(planned, URGENT_RETRY_MS) : planned
    const { identity } = entry
    this.#options.log.warn('no certificate issued', {
      identity,
      error: entry.error,
      retry_ms: Math.round(wait),
      still_valid: this.current(identity) !== undefined,
    })
    this.#beginAfter(entry, wait)
    this.#retireIfUnused(entry)
  }

  #planRenewal(entry: Entry): void {
    const { material } = entry
    if (material === undefined) return
    const left = expiryOf(material) - this.#options.clock.wallMs()
    this.#beginAfter(entry, Math.max(left / 2, MIN_RENEWAL_MS))
  }

  #retireIfUnused(entry: Entry): void {
    if (this.#closed || isUsed(entry) || entry.phase === 'issuing') return
    this.#queue.remove(entry.identity)
    entry.phase = 'resting'
    entry.timer?.cancel()
    entry.timer = undefined
    const { material } = entry
    if (material === undefined || !isValid(material, this.#options.clock)) {
      this.#entries.delete(entry.identity)
      return
    }
    const left = expiryOf(material) - this.#options.clock.wallMs()
    entry.timer = this.#options.clock.after(left, () => this.#entries.delete(entry.identity))
    this.#dropOldestRetired()
  }

  #dropOldestRetired(): void {
    const retired = [...this.#entries.values()].filter(
      (entry) => !isUsed(entry) && entry.phase !== 'issuing',
    )
    const [oldest] = retired
    if (oldest === undefined || retired.length <= MAX_RETIRED) return
    oldest.timer?.cancel()
    this.#entries.delete(oldest.identity)
  }
}

const isUsed = (entry: Entry): boolean => entry.wants > 0 || entry.waiters.size > 0

const isValid = (material: IdentityMaterial, clock: Clock): boolean =>
  clock.wallMs() < expiryOf(material)

function stateOf(entry: Entry, material: IdentityMaterial | undefined): string {
  if (material !== undefined) return 'Available'
  return entry.error === undefined ? 'Initializing' : `Unavailable: ${entry.error}`
}

const closedError = (): AmbitError =>
  new AmbitError('CERTIFICATE_CLOSED', 'the certificate manager is closed')

const tooMany = (what: string): AmbitError =>
  new AmbitError('CERTIFICATE_TOO_MANY', `too many ${what}`)
