import { readdirSync, readlinkSync } from 'node:fs'
import koffi from 'koffi'
import {
  closeFd,
  SO_KEEPALIVE,
  SOL_SOCKET,
  SOL_TCP,
  socketOption,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
} from '../../../shared/linux/sockets.ts'
import { formatIpAddress } from '../../../shared/runtime/ip-address.ts'

const libc = koffi.load(null)
const syscall: (number: number, first: number, second: number, third: number) => number = libc.func(
  'long syscall(long number, long first, long second, long third)',
)
const getpeername: (fd: number, address: Buffer, length: Uint32Array) => number = libc.func(
  'int getpeername(int fd, void *address, void *length)',
)

// The same numbers on every architecture.
const PIDFD_OPEN = 434
const PIDFD_GETFD = 438

const SO_TYPE = 3
const SO_DOMAIN = 39
const SOCK_STREAM = 1
const AF_INET = 2
const AF_INET6 = 10

/** A connected TCP socket of another process, as `getsockopt` shows it. */
export interface ConnectedSocket {
  /** Canonical text. */
  readonly peerAddress: string
  readonly peerPort: number
  readonly keepAlive: boolean
  readonly idleSeconds: number
  readonly intervalSeconds: number
  readonly count: number
}

/** The connected TCP sockets that a process has open; needs root. */
export function connectedSockets(pid: number): readonly ConnectedSocket[] {
  const process = syscall(PIDFD_OPEN, pid, 0, 0)
  if (process < 0) throw new Error(`no process ${pid}`)
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
      if (!linkOf(`/proc/${pid}/fd/${name}`).startsWith('socket:')) return []
      const fd = syscall(PIDFD_GETFD, process, Number(name), 0)
      if (fd < 0) return []
      try {
        return look(fd)
      } finally {
        closeFd(fd)
      }
    })
  } finally {
    closeFd(process)
  }
}

function look(fd: number): readonly ConnectedSocket[] {
  const domain = socketOption(fd, SOL_SOCKET, SO_DOMAIN)
  if (domain !== AF_INET && domain !== AF_INET6) return []
  if (socketOption(fd, SOL_SOCKET, SO_TYPE) !== SOCK_STREAM) return []
  const peer = Buffer.alloc(28)
  if (getpeername(fd, peer, Uint32Array.of(peer.length)) < 0) return []
  return [
    {
      peerAddress:
        formatIpAddress(domain === AF_INET ? peer.subarray(4, 8) : peer.subarray(8, 24)) ?? '',
      peerPort: peer.readUInt16BE(2),
      keepAlive: socketOption(fd, SOL_SOCKET, SO_KEEPALIVE) === 1,
      idleSeconds: socketOption(fd, SOL_TCP, TCP_KEEPIDLE),
      intervalSeconds: socketOption(fd, SOL_TCP, TCP_KEEPINTVL),
      count: socketOption(fd, SOL_TCP, TCP_KEEPCNT),
    },
  ]
}

/** Empty for one that was closed meanwhile. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
