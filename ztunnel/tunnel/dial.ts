import { Socket } from 'node:net'
import type { Channel } from '../../shared/hbone/channel.ts'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'
import { setKeepAlive, tcpSocket } from '../../shared/linux/sockets.ts'
import type { Clock } from '../../shared/runtime/clock.ts'
import { describeError } from '../../shared/runtime/errors.ts'
import { formatEndpoint } from '../../shared/runtime/ip-address.ts'
import { MARK } from '../capture/rules.ts'
import { ConnectionFailure } from './failure.ts'
import { socketChannel } from './socket-channel.ts'

/**
 * Probes on both legs of every captured connection. Connection tracking forgets a half-closed redirected connection
 * after 60 s of silence, so probes start before that; a dead peer is noticed after 45 + 9 * 15 seconds.
 */
export const KEEPALIVE = { idleSeconds: 45, intervalSeconds: 15, count: 9 } as const

export const CONNECT_TIMEOUT_MS = 10_000

export interface Target {
  readonly address: string
  readonly port: number
}

export interface DialOptions {
  /** The caller's address, to be seen by the application; left out to use the pod's own. */
  readonly source?: string
  readonly clock: Clock
  readonly signal: AbortSignal
}

/**
 * Connects from inside a pod with the mark that keeps the connection out of capture. Rejects with
 * `CONNECTION_FAILED` or `CONNECTION_TIMEOUT` when that takes more than ten seconds.
 */
export function dial(
  namespace: NetworkNamespace,
  target: Target,
  options: DialOptions,
): Promise<Socket> {
  const fd = openSocket(namespace, target, options.source)
  return connected(new Socket({ fd, allowHalfOpen: true }), target, options)
}

/** The same for a connection whose bytes are spliced. */
export async function dialChannel(
  namespace: NetworkNamespace,
  target: Target,
  options: DialOptions,
): Promise<Channel> {
  const { socket, channel } = socketChannel(openSocket(namespace, target, options.source))
  await connected(socket, target, options)
  return channel
}

function openSocket(
  namespace: NetworkNamespace,
  target: Target,
  source: string | undefined,
): number {
  const family = target.address.includes(':') ? 6 : 4
  // A source equal to the destination needs no disguise: it is the pod calling itself.
  const spoofed = source !== undefined && source !== target.address
  const bindSource = spoofed && source.includes(':') === (family === 6) ? source : undefined
  const fd = namespace.run(() =>
    tcpSocket({ family, mark: MARK, ...(bindSource === undefined ? {} : { bindSource }) }),
  )
  setKeepAlive(fd, KEEPALIVE)
  return fd
}

function connected(socket: Socket, target: Target, options: DialOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const where = formatEndpoint(target.address, target.port)
    const settle = (failure: ConnectionFailure | undefined): void => {
      timer.cancel()
      options.signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', onError)
      if (failure === undefined) {
        resolve(socket)
        return
      }
      socket.on('error', () => undefined)
      socket.destroy()
      reject(failure)
    }
    const onConnect = (): void => settle(undefined)
    const onError = (error: Error): void =>
      settle(
        new ConnectionFailure(
          'CONNECTION_FAILED',
          'CONNECT',
          `connection failed: ${describeError(error)}`,
          {
            cause: error,
          },
        ),
      )
    const onAbort = (): void => {
      const reason: unknown = options.signal.reason
      settle(
        reason instanceof ConnectionFailure
          ? reason
          : new ConnectionFailure(
              'CONNECTION_FAILED',
              'CONNECT',
              `connection to ${where} given up`,
            ),
      )
    }
    const timer = options.clock.after(CONNECT_TIMEOUT_MS, () =>
      settle(
        new ConnectionFailure(
          'CONNECTION_TIMEOUT',
          'CONNECT',
          `connection failed: no answer from ${where} within ${CONNECT_TIMEOUT_MS / 1000} s`,
        ),
      ),
    )
    socket.setNoDelay(true)
    socket.on('connect', onConnect)
    socket.on('error', onError)
    options.signal.addEventListener('abort', onAbort)
    if (options.signal.aborted) {
      onAbort()
      return
    }
    socket.connect({ host: target.address, port: target.port })
  })
}
