import { type Metadata, type ServerDuplexStream, status } from '@grpc/grpc-js'
import type {
  AggregatedDiscoveryServiceServer,
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../shared/proto/generated/discovery.ts'
import type { Clock, Timer } from '../../shared/runtime/clock.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { Metrics } from '../../shared/telemetry/metrics.ts'
import { endCall } from '../end-call.ts'
import { DeltaStream, type StreamStatus } from './delta-stream.ts'
import { createServerMetrics, type ServerMetrics } from './metrics.ts'
import type { ResourceStore } from './resource-store.ts'

/** Who opened a stream; rejects with an error that has a gRPC `code`. */
export type Authenticate = (metadata: Metadata) => Promise<{ readonly node: string }>

export interface DeltaServerOptions {
  readonly store: ResourceStore
  readonly authenticate: Authenticate
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

type Call = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

/** Changes within this time go out together. */
const GATHER_MS = 5
const MOST_STREAMS = 10_000
/** A node agent has one; a few more are for its restart and for people who look. */
const MOST_STREAMS_OF_NODE = 16

/** Serves the resources of a store by delta ADS, to authenticated node agents only. */
export class DeltaServer implements Disposable {
  readonly implementation: AggregatedDiscoveryServiceServer = {
    deltaAggregatedResources: (call) => void this.#serve(call),
  }
  readonly #options: DeltaServerOptions
  readonly #log: Log
  readonly #metrics: ServerMetrics
  readonly #streams = new Set<DeltaStream>()
  readonly #waiting = new Set<DeltaStream>()
  readonly #stopListening: () => void
  #timer: Timer | undefined
  #closed = false
  #streamNumber = 0

  constructor(options: DeltaServerOptions) {
    this.#options = options
    this.#log = options.log.child('xds')
    this.#metrics = createServerMetrics(options.metrics)
    this.#stopListening = options.store.onChange((typeUrl, changes) => {
      for (const stream of this.#streams) {
        if (stream.changed(typeUrl, changes)) this.#soon(stream)
      }
    })
  }

  /** What every stream is subscribed to, and how far it is. */
  streams(): readonly StreamStatus[] {
    return [...this.#streams].map((stream) => stream.status())
  }

  /** Ends all streams; clients come back to whoever serves then. */
  [Symbol.dispose](): void {
    this.#closed = true
    this.#stopListening()
    this.#timer?.cancel()
    for (const stream of this.#streams) stream.end(status.UNAVAILABLE, 'the control plane stops')
    this.#streams.clear()
  }

  async #serve(call: Call): Promise<void> {
    call.on('error', () => undefined)
    let node: string
    try {
      node = (await this.#options.authenticate(call.metadata)).node
    } catch (error) {
      this.#log.warn('stream refused', { peer: call.getPeer(), error: describeError(error) })
      endCall(call, codeOfCall(error), error instanceof Error ? error.message : 'refused')
      return
    }
    if (call.cancelled) return
    const refusal = this.#refusal(node)
    if (refusal !== undefined) {
      this.#log.warn('stream refused', { peer: call.getPeer(), node, error: refusal.text })
      endCall(call, refusal.code, refusal.text)
      return
    }
    this.#streamNumber++
    const stream = new DeltaStream({
      call,
      node,
      id: this.#streamNumber,
      store: this.#options.store,
      clock: this.#options.clock,
      log: this.#log,
      metrics: this.#metrics,
      soon: (one) => this.#soon(one),
      closed: (one) => this.#forget(one),
    })
    this.#streams.add(stream)
    this.#metrics.streams(this.#streams.size)
    this.#log.info('stream opened', { node, peer: call.getPeer() })
    stream.begin()
  }

  #refusal(node: string): { readonly code: status; readonly text: string } | undefined {
    if (this.#closed) return { code: status.UNAVAILABLE, text: 'the control plane stops' }
    const own = [...this.#streams].filter((stream) => stream.node === node).length
    if (this.#streams.size < MOST_STREAMS && own < MOST_STREAMS_OF_NODE) return undefined
    return { code: status.RESOURCE_EXHAUSTED, text: 'too many streams' }
  }

  #soon(stream: DeltaStream): void {
    this.#waiting.add(stream)
    this.#timer ??= this.#options.clock.after(GATHER_MS, () => {
      this.#timer = undefined
      const streams = [...this.#waiting]
      this.#waiting.clear()
      for (const one of streams) one.flush()
    })
  }

  #forget(stream: DeltaStream): void {
    this.#waiting.delete(stream)
    if (!this.#streams.delete(stream)) return
    this.#metrics.streams(this.#streams.size)
    this.#log.info('stream closed', { node: stream.node })
  }
}

/** What a caller may be told about who it is. */
const CODES = [status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.UNAVAILABLE] as const

function codeOfCall(error: unknown): status {
  if (!(error instanceof Error) || !('code' in error)) return status.INTERNAL
  const { code } = error
  return CODES.find((one) => one === code) ?? status.INTERNAL
}
