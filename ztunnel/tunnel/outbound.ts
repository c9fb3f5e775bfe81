import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Channel } from '../../shared/hbone/channel.ts'
import { fdOf, originalDestination } from '../../shared/linux/sockets.ts'
import { identityOf, type Service, type Workload } from '../../shared/mesh/model.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { endAddress, formatEndpoint } from '../../shared/runtime/ip-address.ts'
import type { ConnectionMeter } from '../../shared/telemetry/connection-record.ts'
import { PORTS } from '../capture/rules.ts'
import {
  createTraceparent,
  formatBaggage,
  formatForwarded,
  formatTraceparent,
  type Traceparent,
} from '../route/headers.ts'
import { type OutboundRoute, routeOutbound } from '../route/outbound.ts'
import { isRecursiveCall, SELF_CALL } from '../route/own-ports.ts'
import type { OpenConnection } from './connections.ts'
import { dialChannel, type Target } from './dial.ts'
import { ConnectionFailure, outcomeOf, outcomeOfSplice } from './failure.ts'
import { adopt, ownWorkload, type PodContext, partyOf, SETUP_MS, within } from './pod-context.ts'
import { acceptedChannel } from './socket-channel.ts'
import { splice } from './splice.ts'
import type { Tunnels } from './tunnels.ts'

type Forwarding = Exclude<OutboundRoute, { kind: 'deny' }>

/** Connections that a pod opens: where they go is `route/outbound`'s decision, how they get there is here. */
export class OutboundProxy {
  readonly #pod: PodContext
  readonly #tunnels: Tunnels

  constructor(pod: PodContext, tunnels: Tunnels) {
    this.#pod = pod
    this.#tunnels = tunnels
  }

  /** Takes a redirected connection, paused. Never throws; the socket is this call's to close. */
  async serve(redirected: Socket): Promise<void> {
    const accepted = this.#pod.clock.monotonicMs()
    const source = formatEndpoint(endAddress(redirected.remoteAddress), redirected.remotePort ?? 0)
    let client: Channel | undefined
    let destination: Target | undefined
    try {
      const { socket, channel } = acceptedChannel(redirected)
      client = channel
      adopt(this.#pod, socket)
      destination = originalDestination(fdOf(socket)) ?? localEnd(socket)
      const workload = await this.#own(destination)
      const route = routeOutbound({
        source: workload,
        destination,
        network: this.#pod.settings.network,
        mesh: this.#pod.mesh,
        random: Math.random,
      })
      if (route.kind === 'deny') throw new ConnectionFailure(route.code, route.flag, route.error)
      const trace = createTraceparent(randomBytes(24))
      await this.#forward(client, { source, destination, workload, route, accepted, trace })
    } catch (error) {
      this.#refuse(client, source, destination, error)
    }
  }

  async #own(destination: Target): Promise<Workload> {
    if (isRecursiveCall(destination)) {
      throw new ConnectionFailure(SELF_CALL.code, 'CONNECT', SELF_CALL.error)
    }
    return await ownWorkload(this.#pod)
  }

  async #forward(client: Channel, call: OutboundCall): Promise<void> {
    const abort = new AbortController()
    const open: OpenConnection = {
      abort,
      direction: 'outbound',
      source: call.source,
      destination: formatEndpoint(call.destination.address, call.destination.port),
      protocol: call.route.kind === 'hbone' ? 'HBONE' : 'TCP',
      facts: undefined,
    }
    const forget = this.#pod.connections.add(open)
    const meter = this.#meterOf(call)
    try {
      const server = await this.#reach(call, abort.signal)
      meter.established(this.#elapsed(call))
      const end = await splice(client, server, {
        onLeftBytes: (bytes) => meter.received(bytes),
        onRightBytes: this.#countAnswer(call, meter),
        signal: abort.signal,
      })
      meter.close(outcomeOfSplice(end))
    } catch (error) {
      client.cut(asError(error))
      meter.close(outcomeOf(error))
    } finally {
      forget()
    }
  }

  async #reach(call: OutboundCall, signal: AbortSignal): Promise<Channel> {
    const { route } = call
    const late = (): Error =>
      new ConnectionFailure(
        'CONNECTION_TIMEOUT',
        'CONNECT',
        'connection failed: set-up took too long',
      )
    return await within(this.#pod.clock, SETUP_MS, late, async (budget) => {
      const both = AbortSignal.any([signal, budget])
      if (route.kind === 'hbone') {
        return await this.#tunnels.open(route, this.#headers(call, route.service), both)
      }
      const { clock, namespace } = this.#pod
      return await dialChannel(namespace, route.target, { clock, signal: both })
    })
  }

  #headers(call: OutboundCall, service: Service | undefined): Record<string, string> {
    return {
      baggage: formatBaggage(call.workload),
      forwarded: formatForwarded(call.source, service?.hostname),
      traceparent: formatTraceparent(call.trace),
    }
  }

  #meterOf(call: OutboundCall): ConnectionMeter {
    const { route, workload } = call
    const mutualTls = route.kind === 'hbone'
    const peer = route.kind === 'passthrough' ? undefined : route.workload
    const peerIdentity = mutualTls && peer !== undefined ? identityOf(peer) : undefined
    return this.#pod.telemetry.open({
      direction: 'outbound',
      source: partyOf(workload, mutualTls ? this.#pod.identity : undefined),
      destination: partyOf(peer, peerIdentity),
      service: route.service,
      mutualTls,
      sourceAddress: call.source,
      destinationAddress: formatEndpoint(route.target.address, route.target.port),
      hboneAddress: route.kind === 'hbone' ? route.authority : undefined,
      traceId: call.trace.traceId,
    })
  }

  #countAnswer(call: OutboundCall, meter: ConnectionMeter): (bytes: number) => void {
    let first = true
    return (bytes) => {
      if (first) {
        first = false
        meter.firstByte(this.#elapsed(call))
      }
      meter.sent(bytes)
    }
  }

  #elapsed(call: OutboundCall): number {
    return this.#pod.clock.monotonicMs() - call.accepted
  }

  #refuse(
    client: Channel | undefined,
    source: string,
    destination: Target | undefined,
    error: unknown,
  ): void {
    client?.cut(asError(error))
    const outcome = outcomeOf(error)
    this.#pod.telemetry.refused({
      direction: 'outbound',
      sourceAddress: source,
      destinationAddress:
        destination === undefined
          ? 'unknown'
          : formatEndpoint(destination.address, destination.port),
      workload: `${this.#pod.workloadNamespace}/${this.#pod.name}`,
      error: outcome.error ?? 'refused',
      flag: outcome.flag,
    })
  }
}

interface OutboundCall {
  readonly source: string
  readonly destination: Target
  readonly workload: Workload
  readonly route: Forwarding
  readonly trace: Traceparent
  /** Monotonic milliseconds. */
  readonly accepted: number
}

/** Without redirection (a socket handed to us directly) the local end is the destination. */
const localEnd = (socket: Socket): Target => ({
  address: endAddress(socket.localAddress),
  port: socket.localPort ?? PORTS.outbound,
})

const asError = (error: unknown): Error =>
  error instanceof Error ? error : new AmbitError('CONNECTION_FAILED', String(error))
