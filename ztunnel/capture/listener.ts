import { createServer, type Server, type Socket } from 'node:net'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { closeFd, dupFd, listenTcp } from '../../shared/linux/sockets.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import { MARK, PORTS } from './rules.ts'

/** Connections that the kernel keeps for us while we are busy or paused. */
const BACKLOG = 4_096

/** The listening sockets of one thread in one pod, as descriptors. */
export type PodSockets = { readonly [K in keyof typeof PORTS]: number }

/**
 * Opens the listening sockets of one thread inside a pod; the caller owns them. The kernel spreads connections over
 * all that are open for a port. Throws if a port is taken, and nothing is open then.
 */
export function openPodSockets(namespace: NetworkNamespace): PodSockets {
  const host = namespace.hasIpv6() ? '::' : '0.0.0.0'
  const opened: number[] = []
  const open = (port: number): number => {
    const fd = namespace.run(() =>
      listenTcp({ host, port, backlog: BACKLOG, mark: MARK, reusePort: true }),
    )
    opened.push(fd)
    return fd
  }
  try {
    return {
      outbound: open(PORTS.outbound),
      inboundPlaintext: open(PORTS.inboundPlaintext),
      hbone: open(PORTS.hbone),
    }
  } catch (error) {
    for (const fd of opened) closeFd(fd)
    throw error
  }
}

export function closePodSockets(sockets: PodSockets): void {
  for (const fd of Object.values(sockets)) closeFd(fd)
}

export interface ListenerOptions {
  /** A listening socket, which stays its owner's. */
  readonly fd: number
  readonly log: Log
  /** Sockets arrive paused, with half-close allowed and without any listener on them. */
  readonly onConnection: (socket: Socket) => void
}

/**
 * Accepts from one listening socket of a pod. It works on a copy of the descriptor: while it is paused, or its thread
 * gone, the socket is still there, and with it the kernel's queue, until the owner closes the original.
 */
export class Listener {
  readonly #options: ListenerOptions
  #server: Server | undefined

  /** Paused at first. */
  constructor(options: ListenerOptions) {
    this.#options = options
  }

  /** Stops accepting; connections that were accepted live on. */
  pause(): void {
    this.#server?.close()
    this.#server = undefined
  }

  resume(): void {
    if (this.#server !== undefined) return
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
    server.on('connection', this.#options.onConnection)
    server.on('error', (error) => {
      const { fd, log } = this.#options
      log.error('listener failed', { fd, error: describeError(error) })
    })
    // As a property of the first argument, node ignores the backlog of a descriptor, and shortens it to 511.
    server.listen({ fd: dupFd(this.#options.fd) }, BACKLOG)
    this.#server = server
  }
}
