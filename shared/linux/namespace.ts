import { closeSync, fstatSync, openSync, readFileSync, stat, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { AmbitError, codeOf } from '../runtime/errors.ts'
import { canonicalAddress } from '../runtime/ip-address.ts'
import { abort, check, close, ioctl, setns } from './libc.ts'

const CLONE_NEWNET = 0x40000000
const NS_GET_USERNS = 0xb701

/** The namespace this thread is in now, as a descriptor that stays open; undefined before the first visit. */
let current: number | undefined

/**
 * A network namespace, held open by a descriptor: it lives on while this does, whatever becomes of its name. Usable
 * from every thread, but a visit moves only the thread that makes it.
 */
export class NetworkNamespace implements Disposable {
  /** Device and inode: equal for two handles on the same namespace, and for nothing else while one is open. */
  readonly key: string
  readonly #fd: number
  readonly #path: string
  #open = true

  private constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
    this.key = keyOf(fstatSync(fd, { bigint: true }))
  }

  /** `path` is `/var/run/netns/NAME` or `/proc/PID/ns/net`. Throws `LINUX_ENOENT` and the like. */
  static open(path: string): NetworkNamespace {
    const fd = openPath(path)
    try {
      return new NetworkNamespace(fd, path)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** The namespace of the calling thread. */
  static own(): NetworkNamespace {
    return NetworkNamespace.open('/proc/thread-self/ns/net')
  }

  /** Where other threads of this process can open it, while this handle is; to be compared by `key`. */
  get path(): string {
    return `/proc/self/fd/${this.#fd}`
  }

  /**
   * Calls `fn` with this thread inside the namespace. What it opens there stays there: sockets, and child processes
   * from `spawn`. It must be synchronous, since all of this thread's work would happen inside; a promise is refused,
   * with an error, after the return. Threads started inside would stay inside, so `fn` starts no worker.
   */
  run<T>(fn: () => T): T {
    if (!this.#open)
      throw new AmbitError('LINUX_EBADF', `${this.#path}: namespace handle is closed`)
    const before = current ?? firstVisit()
    check(setns(this.#fd, CLONE_NEWNET), `setns(${this.#path})`)
    current = this.#fd
    let result: T
    try {
      result = fn()
    } finally {
      // In a wrong namespace every later socket would serve the wrong pod: there is no going on.
      if (setns(before, CLONE_NEWNET) !== 0) abort()
      current = before
    }
    if (isThenable(result)) {
      throw new AmbitError(
        'NAMESPACE_ASYNC',
        `${this.#path}: work inside a namespace must be synchronous`,
      )
    }
    return result
  }

  /**
   * Whether the machine's own user namespace owns this one. Any unprivileged user can make network namespaces in
   * user namespaces of his own, with every address he likes. False when in doubt.
   */
  ownedByInitialUserNamespace(): boolean {
    const owner = ioctl(this.#fd, NS_GET_USERNS)
    if (owner < 0) return false
    try {
      return keyOf(fstatSync(owner, { bigint: true })) === initialUserNamespace()
    } finally {
      close(owner)
    }
  }

  /** The canonical addresses of its interfaces that are up, without loopback and link-local ones. */
  addresses(): string[] {
    const found: string[] = []
    for (const list of Object.values(this.run(networkInterfaces))) {
      for (const { address, internal } of list ?? []) {
        if (!internal && !isLinkLocal(address)) found.push(canonicalAddress(address) ?? address)
      }
    }
    return found
  }

  /** Whether anything in it, loopback included, has an IPv6 address. */
  hasIpv6(): boolean {
    return this.run(() => {
      try {
        return readFileSync('/proc/thread-self/net/if_inet6', 'latin1') !== ''
      } catch {
        return false
      }
    })
  }

  /** Closes the descriptor; the namespace itself ends when nothing else holds it. */
  [Symbol.dispose](): void {
    if (!this.#open) return
    this.#open = false
    closeSync(this.#fd)
  }
}

/** The key of the namespace at `path`, without opening it; undefined if there is none. */
export function namespaceKeyAt(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found === undefined ? undefined : keyOf(found)
}

const keyOf = (found: { readonly dev: bigint; readonly ino: bigint }): string =>
  `${found.dev}:${found.ino}`

function openPath(path: string): number {
  try {
    return openSync(path, 'r')
  } catch (error) {
    throw new AmbitError(`LINUX_${codeOf(error) ?? 'UNKNOWN'}`, `cannot open ${path}`, {
      cause: error,
    })
  }
}

/**
 * Opens the way back. Node's pool threads inherit the namespace of the thread that first needs one, and all start
 * together at the first use: that use is made here, so that it cannot happen inside a pod.
 */
function firstVisit(): number {
  stat('/', () => undefined)
  current = openPath('/proc/thread-self/ns/net')
  return current
}

function initialUserNamespace(): string | undefined {
  try {
    return namespaceKeyAt('/proc/1/ns/user')
  } catch {
    return namespaceKeyAt('/proc/self/ns/user')
  }
}

const isThenable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'

const isLinkLocal = (address: string): boolean =>
  address.startsWith('169.254.') || /^fe[89ab][0-9a-f]:/i.test(address)
