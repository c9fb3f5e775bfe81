import type { Socket } from 'node:net'
import { fdOf, originalDestination } from '../../shared/linux/sockets.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { endAddress, formatEndpoint } from '../../shared/runtime/ip-address.ts'
import { routeInboundPassthrough } from '../route/inbound.ts'
import { forwardToApplication } from './application.ts'
import { ConnectionFailure, outcomeOf } from './failure.ts'
import { adopt, ownWorkload, type PodContext } from './pod-context.ts'
import { socketLeg } from './splice.ts'

/** Plaintext connections towards a pod: from outside the mesh, or from before a peer knew that the pod is in it. */
export class PassthroughProxy {
  readonly #pod: PodContext

  constructor(pod: PodContext) {
    this.#pod = pod
  }

  /** Takes a redirected connection, paused. Never throws; the socket is this call's to close. */
  async serve(socket: Socket): Promise<void> {
    const accepted = this.#pod.clock.monotonicMs()
    const caller = socketLeg(socket)
    const sourceIp = endAddress(socket.remoteAddress)
    const sourcePort = socket.remotePort ?? 0
    try {
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
        refuse: () => caller.cut(new AmbitError('CONNECTION_REFUSED', 'refused')),
        accept: () => caller,
      })
    } catch (error) {
      caller.cut(
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
