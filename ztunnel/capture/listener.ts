import { createServer, type Server, type Socket } from 'node:net'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { closeFd, dupFd, listenTcp } from '../../shared/linux/sockets.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import { MARK } from './rules.ts'

export interface ListenerOptions {
  readonly namespace: NetworkNamespace
  readonly port: number
  readonly log: Log
  /** Sockets arrive paused, with half-close allowed and without any listener on them. */
  readonly onConnection: (socket: Socket) => void
}

/** Connections that the kernel keeps for us while we are busy or paused. */
const BACKLOG = 4_096

/**
 * One listening socket inside a pod. Pausing keeps the socket, and with it the kernel's queue, and stops accepting:
 * the server listens on a copy of the descriptor, which is closed meanwhile.
 */
export class Listener implements Disposable {
  readonly #options: ListenerOptions
  readonly #fd: number
  #server: Server | undefined

  /** Opens the socket; throws if the port is taken. */
  constructor(options: ListenerOptions) {
    this.#options = options
    const host = options.namespace.hasIpv6() ? '::' : '0.0.0.0'
    this.#fd = options.namespace.run(() =>
      listenTcp({ host, port: options.port, backlog: BACKLOG, mark: MARK, reusePort: true }),
    )
    this.resume()
  }

  pause(): void {
    this.#server?.close()
    this.#server = undefined
  }

  resume(): void {
    if (this.#server !== undefined) return
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
    server.on('connection', this.#options.onConnection)
    server.on('error', (error) => {
      const { port, log } = this.#options
      log.error('listener failed', { port, error: describeError(error) })
    })
    // As a property of the first argument, node ignores the backlog of a descriptor, and shortens it to 511.
    server.listen({ fd: dupFd(this.#fd) }, BACKLOG)
    this.#server = server
  }

  /** Stops listening; connections that were accepted live on. */
  [Symbol.dispose](): void {
    this.pause()
    closeFd(this.#fd)
  }
}
