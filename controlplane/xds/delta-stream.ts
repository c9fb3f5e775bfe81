import { type ServerDuplexStream, status } from '@grpc/grpc-js'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../shared/proto/generated/discovery.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import type { Log } from '../../shared/runtime/log.ts'
import { packageVersion } from '../../shared/runtime/version.ts'
import { markPartial } from '../../shared/xds/partial-answer.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../compile/resource.ts'
import { endCall } from '../end-call.ts'
import { type ServerMetrics, typeLabel } from './metrics.ts'
import { type NameChange, NO_RESOURCES, type ResourceStore } from './resource-store.ts'
import { type Batch, Subscription, type SubscriptionStatus } from './subscription.ts'

export interface DeltaStreamOptions {
  readonly call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>
  /** The caller, as its token says. */
  readonly node: string
  readonly id: number
  readonly store: ResourceStore
  readonly clock: Clock
  readonly log: Log
  readonly metrics: ServerMetrics
  /** Asks for a `flush` in a moment. */
  readonly soon: (stream: DeltaStream) => void
  /** The stream is over; called once. */
  readonly closed: (stream: DeltaStream) => void
}

export interface StreamStatus {
  readonly node: string
  readonly peer: string
  /** What the client calls itself. */
  readonly id: string
  readonly ageMs: number
  readonly types: Readonly<Record<string, SubscriptionStatus>>
}

const MOST_NAMES = 2_000
const MOST_BYTES = 3 * 1024 * 1024
const MOST_TYPES = 16
const FIRST_REQUEST_MS = 30_000
const MOST_LOGGED_CHARS = 2_000

/** One client: requests in, responses out, one response under way per type. */
export class DeltaStream {
  readonly node: string
  readonly #options: DeltaStreamOptions
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #log: Log
  readonly #sinceMs: number
  #nodeId = ''
  #nonce = 0
  #firstRequest: Timer | undefined
  /** The transport takes no more for now. */
  #blocked = false
  #over = false

  constructor(options: DeltaStreamOptions) {
    this.node = options.node
    this.#options = options
    this.#log = options.log.child('xds', { node: options.node })
    this.#sinceMs = options.clock.monotonicMs()
  }

  /** Starts to read. */
  begin(): void {
    const { call, clock } = this.#options
    this.#firstRequest = clock.after(FIRST_REQUEST_MS, () => {
      this.end(status.DEADLINE_EXCEEDED, 'no request came')
    })
    call.on('data', (request: DeltaDiscoveryRequest) => this.#request(request))
    call.on('drain', () => {
      this.#blocked = false
      this.flush()
    })
    call.on('cancelled', () => this.#close())
    call.on('error', () => this.#close())
    call.on('end', () => {
      if (!this.#over) call.end()
      this.#close()
    })
    if (call.cancelled) this.#close()
  }

  /** Takes changes of the store; says whether a flush may have something to send. */
  changed(typeUrl: string, changes: readonly NameChange[]): boolean {
    const subscription = this.#subscriptions.get(typeUrl)
    subscription?.changed(changes)
    return subscription?.due ?? false
  }

  /**
   * Sends what is due. New and changed policies go before workloads and services, which name them, and removed ones
   * after: so a client never knows a workload without the policies that protect it, nor misses one that is named.
   */
  flush(): void {
    if (this.#over || this.#blocked) return
    const addresses = this.#subscriptions.get(ADDRESS_TYPE)
    const policies = this.#subscriptions.get(AUTHORIZATION_TYPE)
    if (policies !== undefined) this.#send(AUTHORIZATION_TYPE, policies, true)
    if (addresses !== undefined && policies?.unsentUpserts !== true) {
      this.#send(ADDRESS_TYPE, addresses, false)
    }
    if (policies !== undefined) {
      this.#send(AUTHORIZATION_TYPE, policies, addresses?.unsent === true)
    }
    for (const [typeUrl, subscription] of this.#subscriptions) {
      if (subscription !== policies && subscription !== addresses) {
        this.#send(typeUrl, subscription, false)
      }
    }
  }

  end(code: status, details: string): void {
    if (this.#over) return
    endCall(this.#options.call, code, details)
    this.#close()
  }

  status(): StreamStatus {
    const { call, clock } = this.#options
    const types = [...this.#subscriptions].map(([typeUrl, one]) => [typeUrl, one.status()] as const)
    return {
      node: this.node,
      peer: call.getPeer(),
      id: this.#nodeId,
      ageMs: Math.round(clock.monotonicMs() - this.#sinceMs),
      types: Object.fromEntries(types),
    }
  }

  #request(request: DeltaDiscoveryRequest): void {
    if (this.#over) return
    if (this.#nodeId === '') {
      const id = request.node?.id ?? ''
      if (id === '') {
        this.end(status.INVALID_ARGUMENT, 'missing node information')
        return
      }
      this.#nodeId = id
      this.#firstRequest?.cancel()
    }
    const subscription = this.#subscriptionOf(request.typeUrl)
    if (subscription === undefined) return
    const outcome = subscription.request({
      subscribe: request.resourceNamesSubscribe,
      unsubscribe: request.resourceNamesUnsubscribe,
      initialVersions: request.initialResourceVersions,
      nonce: request.responseNonce,
      error: request.errorDetail?.message.slice(0, MOST_LOGGED_CHARS),
    })
    switch (outcome) {
      case 'stale':
        this.#log.debug('answer to an older response', { type: request.typeUrl })
        return
      case 'refused':
        this.end(status.RESOURCE_EXHAUSTED, 'too many resource names')
        return
      case 'nack':
        this.#options.metrics.rejected(request.typeUrl)
        this.#log.warn('the client refused resources', {
          type: request.typeUrl,
          reason: request.errorDetail?.message.slice(0, MOST_LOGGED_CHARS),
        })
        this.flush()
        return
      case 'ack':
        this.flush()
        return
      case 'subscribed':
        // The first requests of a client come one after the other, and the order of the answers matters.
        if (subscription.wildcard) this.#options.soon(this)
        else this.flush()
    }
  }

  #subscriptionOf(typeUrl: string): Subscription | undefined {
    const known = this.#subscriptions.get(typeUrl)
    if (known !== undefined) return known
    if (typeUrl === '' || this.#subscriptions.size >= MOST_TYPES) {
      const text = typeUrl === '' ? 'missing type URL' : 'too many types'
      this.end(status.INVALID_ARGUMENT, text)
      return undefined
    }
    const served = typeUrl === ADDRESS_TYPE || typeUrl === AUTHORIZATION_TYPE
    if (!served) this.#log.warn('unknown type asked for', { type: typeUrl.slice(0, 200) })
    const view = served ? this.#options.store.view(typeUrl) : NO_RESOURCES
    const subscription = new Subscription(view, this.node)
    this.#subscriptions.set(typeUrl, subscription)
    return subscription
  }

  #send(typeUrl: string, subscription: Subscription, holdRemovals: boolean): void {
    if (this.#blocked || this.#over) return
    const batch = subscription.next({ mostNames: MOST_NAMES, mostBytes: MOST_BYTES, holdRemovals })
    if (batch === undefined) return
    this.#nonce++
    const nonce = `${this.#options.id}-${this.#nonce}`
    subscription.sent(nonce)
    const { resources, removed } = batch
    this.#blocked = !this.#options.call.write(toResponse(typeUrl, nonce, batch))
    this.#options.metrics.pushed(typeUrl, resources.length, removed.length)
    this.#log.debug('sent', {
      type: typeLabel(typeUrl),
      resources: resources.length,
      removed: removed.length,
      partial: batch.partial,
    })
  }

  #close(): void {
    if (this.#over) return
    this.#over = true
    this.#firstRequest?.cancel()
    this.#subscriptions.clear()
    this.#options.closed(this)
  }
}

const VERSION = `ambit ${packageVersion()}`

function toResponse(typeUrl: string, nonce: string, batch: Batch): DeltaDiscoveryResponse {
  return {
    systemVersionInfo: batch.partial ? markPartial(nonce) : nonce,
    typeUrl,
    nonce,
    resources: batch.resources.map(({ name, version, body, aliases }) => ({
      name,
      version,
      aliases: batch.withAliases ? [...aliases] : [],
      resource: { typeUrl, value: Buffer.from(body.buffer, body.byteOffset, body.byteLength) },
    })),
    removedResources: [...batch.removed],
    controlPlane: { identifier: VERSION },
  }
}
