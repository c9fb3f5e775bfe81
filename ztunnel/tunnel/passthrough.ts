import type { Socket } from 'node:net'
import type { Channel } from '../../shared/hbone/channel.ts'
import { fdOf, originalDestination } from '../../shared/linux/sockets.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { endAddress, formatEndpoint } from '../../shared/runtime/ip-address.ts'
import { routeInboundPassthrough } from '../route/inbound.ts'
import { forwardToApplication } from './application.ts'
import { ConnectionFailure, outcomeOf } from './failure.ts'
import { adopt, ownWorkload, type PodContext } from './pod-context.ts'
import { acceptedChannel } from './socket-channel.ts'

/** Plaintext connections towards a pod: from outside the mesh, or from before a peer knew that the pod is in it. */
export class PassthroughProxy {
  readonly #pod: PodContext

  constructor(pod: PodContext) {
    this.#pod = pod
  }

  /** Takes a redirected connection, paused. Never throws; the socket is this call's to close. */
  async serve(redirected: Socket): Promise<void> {
    const accepted = this.#pod.clock.monotonicMs()
    const sourceIp = endAddress(redirected.remoteAddress)
    const sourcePort = redirected.remotePort ?? 0
    let caller: Channel | undefined
    try {
      const { socket, channel } = acceptedChannel(redirected)
      caller = channel
      adopt(this.#pod, socket)
      const destination = originalDestination(fdOf(socket))
      if (destination === undefined) throw unredirected()
      const workload = await ownWorkload(this.#pod)
      const route = routeInboundPassthrough({
        destination,
        sourceAddress: sourceIp,
        network: this.#pod.settings.network,
        localWorkload: workload,
        mesh: this.#pod.mesh,
      })
      if (route.kind === 'deny') throw new ConnectionFailure(route.code, route.flag, route.error)
      await forwardToApplication(this.#pod, {
        accepted,
        sourceIp,
        sourcePort,
        identity: undefined,
        workload,
        service: route.service,
        target: { address: route.address, port: route.port },
        hboneAddress: undefined,
        headers: {},
        refuse: () => channel.cut(new AmbitError('CONNECTION_REFUSED', 'refused')),
        accept: () => ({ channel }),
      })
    } catch (error) {
      caller?.cut(
        error instanceof Error ? error : new AmbitError('CONNECTION_FAILED', String(error)),
      )
      const outcome = outcomeOf(error)
      this.#pod.telemetry.refused({
        direction: 'inbound',
        sourceAddress: formatEndpoint(sourceIp, sourcePort),
        destinationAddress: `${this.#pod.workloadNamespace}/${this.#pod.name}`,
        workload: `${this.#pod.workloadNamespace}/${this.#pod.name}`,
        error: outcome.error ?? 'refused',
        flag: outcome.flag,
      })
    }
  }
}

/** Called straight at the listener's port: there is no place it could go. */
const unredirected = (): ConnectionFailure =>
  new ConnectionFailure(
    'CONNECTION_NO_DESTINATION',
    'CONNECT',
    'attempted recursive call to ourselves',
  )
