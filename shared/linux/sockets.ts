import type { Socket } from 'node:net'
import { AmbitError } from '../runtime/errors.ts'
import { formatIpAddress, parseIpAddress } from '../runtime/ip-address.ts'
import * as libc from './libc.ts'

const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const F_DUPFD_CLOEXEC = 1030

export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_KEEPALIVE = 9
const SO_LINGER = 13
export const SO_REUSEPORT = 15
export const SO_MARK = 36

export const SOL_IP = 0
export const IP_TRANSPARENT = 19
export const IP_BIND_ADDRESS_NO_PORT = 24
const SO_ORIGINAL_DST = 80

export const SOL_TCP = 6
export const TCP_KEEPIDLE = 4
export const TCP_KEEPINTVL = 5
export const TCP_KEEPCNT = 6

export const SOL_IPV6 = 41
export const IPV6_V6ONLY = 26
export const IPV6_TRANSPARENT = 75
export const IPV6_FREEBIND = 78

const SOCKADDR_MAX = 28

// Scratch memory: every call here is synchronous, so one of each serves them all.
const intValue = new Int32Array(1)
const length = new Uint32Array(1)
const sockaddr = Buffer.alloc(SOCKADDR_MAX)

export interface ListenOptions {
  /** `::` serves both families. */
  readonly host: string
  /** 0 lets the kernel choose. */
  readonly port: number
  /**
   * How many connections the kernel keeps until they are accepted; default 511. Node calls `listen` again, so pass
   * the same to `server.listen({ fd }, backlog)`.
   */
  readonly backlog?: number
  readonly mark?: number
  /** Also takes connections to foreign addresses that TPROXY brings here. */
  readonly transparent?: boolean
  readonly reusePort?: boolean
}

/** Opens a listening socket in the namespace the thread is in; the caller owns the descriptor. */
export function listenTcp(options: ListenOptions): number {
  const { host, port, backlog = 511, mark, transparent = false, reusePort = false } = options
  const bytes = parsed(host)
  return opened(bytes.length === 4 ? 4 : 6, (fd) => {
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
    if (reusePort) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1)
    if (mark !== undefined) setOption(fd, SOL_SOCKET, SO_MARK, mark)
    if (bytes.length === 16) setOption(fd, SOL_IPV6, IPV6_V6ONLY, 0)
    // One bit for both families, so that of IPv4 does for either socket.
    if (transparent) setOption(fd, SOL_IP, IP_TRANSPARENT, 1)
    bindTo(fd, bytes, port, host)
    libc.check(libc.listen(fd, backlog), `listen(${host}, ${port})`)
  })
}

export interface TcpSocketOptions {
  readonly family: 4 | 6
  readonly mark?: number
  /** Connect from this address, which need not be one of this machine. */
  readonly bindSource?: string
}

/**
 * Opens an unconnected, non-blocking socket in the namespace the thread is in. Wrap it in `new Socket({ fd })` and
 * let Node connect it. The source port is chosen at connect time, or the ports of one caller would run out.
 */
export function tcpSocket(options: TcpSocketOptions): number {
  const { family, mark, bindSource } = options
  const source = bindSource === undefined ? undefined : parsed(bindSource)
  return opened(family, (fd) => {
    if (mark !== undefined) setOption(fd, SOL_SOCKET, SO_MARK, mark)
    if (source === undefined || bindSource === undefined) return
    if (family === 4) {
      setOption(fd, SOL_IP, IP_TRANSPARENT, 1)
    } else {
      setOption(fd, SOL_IPV6, IPV6_TRANSPARENT, 1)
      setOption(fd, SOL_IPV6, IPV6_FREEBIND, 1)
    }
    setOption(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    bindTo(fd, source, 0, bindSource)
  })
}

export function closeFd(fd: number): void {
  libc.check(libc.close(fd), `close(${fd})`)
}

/** A second descriptor of the same socket, closed in child processes. */
export function dupFd(fd: number): number {
  return libc.check(libc.fcntl(fd, F_DUPFD_CLOEXEC, 0), `dup(${fd})`)
}

/** The descriptor of a live socket, which Node has but does not publish. Throws `LINUX_EBADF` if it is closed. */
export function fdOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle === 'object' && handle !== null) {
    const fd: unknown = Reflect.get(handle, 'fd')
    if (typeof fd === 'number' && fd >= 0) return fd
  }
  throw new AmbitError('LINUX_EBADF', 'the socket is closed')
}

/**
 * Where a redirected connection was going (`SO_ORIGINAL_DST`); its local address if it was not redirected;
 * undefined if connection tracking does not know it.
 */
export function originalDestination(fd: number): { address: string; port: number } | undefined {
  length[0] = SOCKADDR_MAX
  libc.check(libc.getsockname(fd, sockaddr, length), 'getsockname')
  // Asking the IPv4 table about an IPv6 connection would look up 127.0.0.6, which somebody may really use.
  const family = sockaddr.readUInt16LE(0) === AF_INET || isMapped(sockaddr) ? 4 : 6
  length[0] = SOCKADDR_MAX
  const level = family === 4 ? SOL_IP : SOL_IPV6
  if (libc.getsockopt(fd, level, SO_ORIGINAL_DST, sockaddr, length) !== 0) return undefined
  return {
    address:
      formatIpAddress(family === 4 ? sockaddr.subarray(4, 8) : sockaddr.subarray(8, 24)) ?? '',
    port: sockaddr.readUInt16BE(2),
  }
}

/** Reads a socket option whose value is a number. */
export function socketOption(fd: number, level: number, name: number): number {
  length[0] = 4
  libc.check(libc.getsockopt(fd, level, name, intValue, length), `getsockopt(${level}, ${name})`)
  return intValue[0] ?? 0
}

export interface KeepAlive {
  /** Silence before the first probe. */
  readonly idleSeconds: number
  readonly intervalSeconds: number
  /** Unanswered probes until the connection counts as dead. */
  readonly count: number
}

export function setKeepAlive(fd: number, { idleSeconds, intervalSeconds, count }: KeepAlive): void {
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
  setOption(fd, SOL_TCP, TCP_KEEPIDLE, idleSeconds)
  setOption(fd, SOL_TCP, TCP_KEEPINTVL, intervalSeconds)
  setOption(fd, SOL_TCP, TCP_KEEPCNT, count)
}

/**
 * Whether closing the socket, by whomever and also by the death of this process, sends a reset and drops what is
 * queued (`SO_LINGER` of zero), instead of an end that looks like any other.
 */
export function setResetOnClose(fd: number, reset: boolean): void {
  const linger = Int32Array.of(reset ? 1 : 0, 0)
  if (libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, 8) < 0) {
    throw libc.failure('setsockopt(SO_LINGER)')
  }
}

/** Opens a stream socket and prepares it; closed again if that fails. */
function opened(family: 4 | 6, prepare: (fd: number) => void): number {
  const domain = family === 4 ? AF_INET : AF_INET6
  const fd = libc.check(
    libc.socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
    'socket',
  )
  try {
    prepare(fd)
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

function setOption(fd: number, level: number, name: number, value: number): void {
  intValue[0] = value
  if (libc.setsockopt(fd, level, name, intValue, 4) < 0) {
    throw libc.failure(`setsockopt(${level}, ${name}, ${value})`)
  }
}

function bindTo(fd: number, bytes: Uint8Array, port: number, host: string): void {
  sockaddr.fill(0)
  sockaddr.writeUInt16LE(bytes.length === 4 ? AF_INET : AF_INET6, 0)
  sockaddr.writeUInt16BE(port, 2)
  sockaddr.set(bytes, bytes.length === 4 ? 4 : 8)
  const size = bytes.length === 4 ? 16 : SOCKADDR_MAX
  if (libc.bind(fd, sockaddr, size) < 0) throw libc.failure(`bind(${host}, ${port})`)
}

function parsed(address: string): Uint8Array {
  const bytes = parseIpAddress(address)
  if (bytes === undefined) throw new AmbitError('LINUX_EINVAL', `'${address}' is not an IP address`)
  return bytes
}

/** Whether a `sockaddr_in6` holds an IPv4-mapped address. */
const isMapped = (address: Buffer): boolean =>
  address.readUInt32BE(8) === 0 &&
  address.readUInt32BE(12) === 0 &&
  address.readUInt32BE(16) === 0xffff
