import type { TlsMaterial } from '../../shared/identity/identity-material.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import type { PodCertificates } from '../tunnel/pod-context.ts'
import type { Failure, WorkerCertificate } from './messages.ts'

/** Connections of one worker that wait for a certificate at once. */
const MAX_WAITERS = 10_000

interface Waiter {
  resolve(material: TlsMaterial): void
  reject(error: unknown): void
}

export interface WorkerCertificatesOptions {
  readonly clock: Clock
  /** Asks the main thread; `install` or `refuse` answers. */
  readonly ask: (identity: string) => void
}

/** The certificates of a worker's pods, as the main thread sent them. */
export class WorkerCertificates implements PodCertificates {
  readonly #options: WorkerCertificatesOptions
  readonly #held = new Map<string, WorkerCertificate>()
  /** By identity; one that is in here has been asked for. */
  readonly #waiting = new Map<string, Set<Waiter>>()
  #waiters = 0

  constructor(options: WorkerCertificatesOptions) {
    this.#options = options
  }

  /**
   * The certificate in force, or the next one issued. Waits as long as `signal` lets it; rejects with its reason, with
   * what the main thread refuses it for, or with `CERTIFICATE_TOO_MANY`.
   */
  async certificateFor(identity: string, signal: AbortSignal): Promise<TlsMaterial> {
    const held = this.#held.get(identity)
    if (held !== undefined && this.#options.clock.wallMs() < held.expiresMs) return held
    signal.throwIfAborted()
    if (this.#waiters >= MAX_WAITERS) {
      throw new AmbitError('CERTIFICATE_TOO_MANY', 'too many connections wait for a certificate')
    }
    return await this.#next(identity, signal)
  }

  install(certificate: WorkerCertificate): void {
    this.#held.set(certificate.identity, certificate)
    for (const waiter of this.#takeWaiters(certificate.identity)) waiter.resolve(certificate)
  }

  /** There is none yet; without a refusal those who still wait ask again. */
  refuse(identity: string, refusal: Failure | undefined): void {
    if (refusal === undefined) {
      if ((this.#waiting.get(identity)?.size ?? 0) > 0) this.#options.ask(identity)
      else this.#waiting.delete(identity)
      return
    }
    const error = new AmbitError(refusal.code, refusal.message)
    for (const waiter of this.#takeWaiters(identity)) waiter.reject(error)
  }

  /** Forgets all others. */
  retain(identities: ReadonlySet<string>): void {
    for (const identity of this.#held.keys()) {
      if (!identities.has(identity)) this.#held.delete(identity)
    }
  }

  #next(identity: string, signal: AbortSignal): Promise<TlsMaterial> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#waiters--
        signal.removeEventListener('abort', onAbort)
      }
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
      const onAbort = (): void => {
        this.#waiting.get(identity)?.delete(waiter)
        waiter.reject(signal.reason)
      }
      signal.addEventListener('abort', onAbort)
      this.#waiters++
      const known = this.#waiting.get(identity)
      if (known !== undefined) {
        known.add(waiter)
        return
      }
      this.#waiting.set(identity, new Set([waiter]))
      this.#options.ask(identity)
    })
  }

  #takeWaiters(identity: string): readonly Waiter[] {
    const waiters = [...(this.#waiting.get(identity) ?? [])]
    this.#waiting.delete(identity)
    return waiters
  }
}
