import {
  AggregatedDiscoveryServiceService,
  DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../proto/generated/discovery.ts'
import type { Clock } from '../runtime/clock.ts'
import { AmbitError } from '../runtime/errors.ts'
import type { Component } from '../runtime/lifecycle.ts'
import type { Log } from '../runtime/log.ts'
import { Accepted, type TypeHandler } from './accepted.ts'
import type { ControlEndpoint } from './control-channel.ts'
import { KeptStream, type StreamEnd } from './kept-stream.ts'
import type { XdsNode } from './node-identity.ts'

export interface DeltaClientOptions extends ControlEndpoint {
  readonly node: XdsNode
  /** Subscribed in this order, each with a wildcard. */
  readonly types: readonly TypeHandler[]
  readonly clock: Clock
  readonly log: Log
  readonly metrics?: {
    terminated(reason: StreamEnd): void
    message(typeUrl: string, bytes: number): void
  }
}

/**
 * Keeps the handlers up to date by one delta ADS stream (ztunnel spec, section 8). What was applied stays while the
 * server is away, and a reconnect transfers only what changed meanwhile.
 */
export class DeltaClient implements Component {
  readonly name = 'xds'
  /** Resolves when every type was answered in whole once; never rejects. */
  readonly ready: Promise<void>
  readonly #options: DeltaClientOptions
  readonly #accepted: ReadonlyMap<string, Accepted>
  readonly #stream: KeptStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>
  readonly #log: Log
  #send: (request: DeltaDiscoveryRequest) => void = () => undefined
  readonly #makeReady: () => void
  #isReady = false

  constructor(options: DeltaClientOptions) {
    this.#options = options
    this.#log = options.log.child('xds')
    this.#accepted = new Map(options.types.map((type) => [type.typeUrl, new Accepted(type)]))
    const { promise, resolve } = Promise.withResolvers<void>()
    this.ready = promise
    this.#makeReady = resolve
    const { address, rootFile, tokenFile, clusterId, clock } = options
    this.#stream = new KeptStream({
      name: this.name,
      endpoint: { address, rootFile, tokenFile, clusterId },
      method: AggregatedDiscoveryServiceService.deltaAggregatedResources,
      clock,
      log: this.#log,
      opened: (send) => this.#opened(send),
      received: (response, bytes) => this.#received(response, bytes),
      ended: (end) => options.metrics?.terminated(end),
    })
  }

  get isReady(): boolean {
    return this.#isReady
  }

  get connected(): boolean {
    return this.#stream.connected
  }

  async start(): Promise<void> {
    await this.#stream.start()
  }

  async drain(): Promise<void> {
    await this.#stream.drain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream[Symbol.asyncDispose]()
  }

  #opened(send: (request: DeltaDiscoveryRequest) => void): void {
    this.#send = send
    const node = { ...this.#options.node, cluster: '' }
    for (const accepted of this.#accepted.values()) send({ ...accepted.subscribe(), node })
  }

  #received(response: DeltaDiscoveryResponse, bytes: number): void {
    const { typeUrl, nonce } = response
    const accepted = this.#accepted.get(typeUrl)
    if (accepted === undefined) {
      if (typeUrl === '') throw new AmbitError('XDS_RESPONSE', 'a response without a type')
      this.#log.warn('a type that was not asked for', { type: typeUrl })
      this.#send(DeltaDiscoveryRequest.fromPartial({ typeUrl, responseNonce: nonce }))
      return
    }
    this.#options.metrics?.message(typeUrl, bytes)
    const reply = accepted.take(response)
    this.#log.debug('applied', {
      type: typeUrl,
      resources: response.resources.length,
      removed: response.removedResources.length,
    })
    if (reply.errorDetail !== undefined) {
      this.#log.error('resources refused', { type: typeUrl, reason: reply.errorDetail.message })
    }
    this.#send(reply)
    if (!this.#isReady && [...this.#accepted.values()].every((one) => one.complete)) {
      this.#isReady = true
      this.#makeReady()
    }
  }
}
