import { DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from '../proto/generated/discovery.ts'
import { describeError } from '../runtime/errors.ts'
import { isPartial } from './partial-answer.ts'

/** A resource as the server sent it. */
export interface Upsert {
  readonly name: string
  readonly version: string
  readonly body: Uint8Array
}

export interface Rejected {
  readonly name: string
  readonly reason: string
}

/** One subscribed type and who takes its resources. */
export interface TypeHandler {
  readonly typeUrl: string
  /** Applies one batch, and names what cannot be used; the rest is in force when it returns. */
  apply(changes: {
    readonly upserts: readonly Upsert[]
    readonly removed: readonly string[]
  }): readonly Rejected[]
}

const INVALID_ARGUMENT = 3
/** The status text of a gRPC peer should stay below its header limits. */
const MOST_DETAIL_CHARS = 4_000

/**
 * What a client holds of one type, over all its streams. A reconnect tells the server the version of everything that
 * was accepted; what was refused is left out, so that it comes again.
 */
export class Accepted {
  readonly #handler: TypeHandler
  readonly #versions = new Map<string, string>()
  /** Refused, and therefore unknown to the server after a reconnect. */
  readonly #refused = new Set<string>()
  /** Refused before this stream and not named on it yet; what stays in here when the answer is complete is gone. */
  #unconfirmed = new Set<string>()
  #complete = false

  constructor(handler: TypeHandler) {
    this.#handler = handler
  }

  /** Whether one whole answer was applied, ever. */
  get complete(): boolean {
    return this.#complete
  }

  get size(): number {
    return this.#versions.size
  }

  /** The first request of a new stream: everything, and what is already here. */
  subscribe(): DeltaDiscoveryRequest {
    this.#unconfirmed = new Set(this.#refused)
    return DeltaDiscoveryRequest.fromPartial({
      typeUrl: this.#handler.typeUrl,
      initialResourceVersions: Object.fromEntries(this.#versions),
    })
  }

  /** Applies a response; returns the ACK, or the NACK that names what was refused. */
  take(response: DeltaDiscoveryResponse): DeltaDiscoveryRequest {
    const refused: Rejected[] = []
    const upserts = response.resources.flatMap(({ name, version, resource }): Upsert[] => {
      if (resource?.typeUrl === this.#handler.typeUrl)
        return [{ name, version, body: resource.value }]
      refused.push({ name, reason: `is of type ${resource?.typeUrl ?? '(none)'}` })
      return []
    })
    const removed = [...response.removedResources]
    for (const { name } of response.resources) this.#unconfirmed.delete(name)
    for (const name of removed) this.#unconfirmed.delete(name)
    const whole = !isPartial(response.systemVersionInfo)
    if (whole) {
      removed.push(...this.#unconfirmed)
      this.#unconfirmed.clear()
    }
    refused.push(...this.#apply(upserts, removed))
    for (const name of removed) this.#forget(name)
    for (const { name, version } of upserts) this.#accept(name, version)
    for (const { name } of refused) this.#refuse(name)
    if (whole) this.#complete = true
    return this.#reply(response.nonce, refused)
  }

  /** A handler that throws has taken nothing for sure, so everything counts as refused. */
  #apply(upserts: readonly Upsert[], removed: readonly string[]): readonly Rejected[] {
    if (upserts.length === 0 && removed.length === 0) return []
    try {
      return this.#handler.apply({ upserts, removed })
    } catch (error) {
      return upserts.map(({ name }) => ({ name, reason: describeError(error) }))
    }
  }

  #accept(name: string, version: string): void {
    this.#versions.set(name, version)
    this.#refused.delete(name)
  }

  #refuse(name: string): void {
    this.#versions.delete(name)
    this.#refused.add(name)
  }

  #forget(name: string): void {
    this.#versions.delete(name)
    this.#refused.delete(name)
  }

  #reply(nonce: string, refused: readonly Rejected[]): DeltaDiscoveryRequest {
    const request = DeltaDiscoveryRequest.fromPartial({
      typeUrl: this.#handler.typeUrl,
      responseNonce: nonce,
    })
    if (refused.length === 0) return request
    const message = refused.map(({ name, reason }) => `${name}: ${reason}`).join('; ')
    const errorDetail = {
      code: INVALID_ARGUMENT,
      message: message.slice(0, MOST_DETAIL_CHARS),
      details: [],
    }
    return { ...request, errorDetail }
  }
}
