import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'
import { AmbitError } from '../runtime/errors.ts'

/**
 * The system calls that Node lacks, through the C library that Node itself runs on. All are synchronous and take
 * about a microsecond. Pointers are buffers of the caller, which the kernel reads or fills in place.
 */
const libc = koffi.load(null)

const strerror: (errno: number) => string = libc.func('const char *strerror(int errno)')

export const setns: (fd: number, type: number) => number = libc.func('int setns(int fd, int type)')

export const socket: (domain: number, type: number, protocol: number) => number = libc.func(
  'int socket(int domain, int type, int protocol)',
)

export const bind: (fd: number, address: Buffer, length: number) => number = libc.func(
  'int bind(int fd, const void *address, uint32_t length)',
)

export const listen: (fd: number, backlog: number) => number = libc.func(
  'int listen(int fd, int backlog)',
)

export const close: (fd: number) => number = libc.func('int close(int fd)')

/** Declared with one number as third argument, as every use here has it. */
export const fcntl: (fd: number, command: number, argument: number) => number = libc.func(
  'int fcntl(int fd, int command, int argument)',
)

/** Declared without a third argument: the one request used here takes none. */
export const ioctl: (fd: number, request: number) => number = libc.func(
  'int ioctl(int fd, unsigned long request)',
)

/** Ends the process at once, from whichever thread; Node's own `process.abort` is refused in workers. */
export const abort: () => void = libc.func('void abort()')

export const flock: (fd: number, operation: number) => number = libc.func(
  'int flock(int fd, int operation)',
)

export const getsockname: (fd: number, address: Buffer, length: Uint32Array) => number = libc.func(
  'int getsockname(int fd, void *address, void *length)',
)

export const setsockopt: (
  fd: number,
  level: number,
  name: number,
  value: NodeJS.TypedArray,
  length: number,
) => number = libc.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
)

export const getsockopt: (
  fd: number,
  level: number,
  name: number,
  value: NodeJS.TypedArray,
  length: Uint32Array,
) => number = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)')

export const ifNameToIndex: (name: string) => number = libc.func(
  'unsigned int if_nametoindex(const char *name)',
)

/** Receives up to `count` messages at once; `headers` is an array of `struct mmsghdr`. */
export const recvmmsg: (
  fd: number,
  headers: Buffer,
  count: number,
  flags: number,
  timeout: null,
) => number = libc.func(
  'int recvmmsg(int fd, void *headers, unsigned int count, int flags, void *timeout)',
)

/** Where a buffer lies in memory; valid while the buffer is referenced. */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer)

/** Calls `onReadable` from the event loop whenever `fd` has something to read; the result stops that. */
export function watchReadable(fd: number, onReadable: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true }, onReadable)
  handle.unref()
  return () => handle.close()
}

/** Whether the last failed call failed so. Ask before anything else is called. */
export const isErrno = (name: string): boolean => koffi.errno() === koffi.os.errno[name]

/** Gives `result` back unless it is negative; then throws `LINUX_<ERRNO>`, saying `what` failed and why. */
export function check(result: number, what: string): number {
  if (result >= 0) return result
  throw failure(what)
}

/** The error of the last failed call. */
export function failure(what: string): AmbitError {
  const errno = koffi.errno()
  return new AmbitError(`LINUX_${nameOf(errno)}`, `${what}: ${strerror(errno)}`)
}

function nameOf(errno: number): string {
  const name = errno > 0 ? getSystemErrorName(-errno) : 'UNKNOWN'
  return /^E[A-Z0-9]+$/.test(name) ? name : `ERRNO_${errno}`
}
