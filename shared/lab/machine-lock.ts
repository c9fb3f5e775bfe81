import { closeSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import * as libc from '../linux/libc.ts'
import { AmbitError } from '../runtime/errors.ts'
import { pause } from '../runtime/lifecycle.ts'
import { RECORDS } from './record.ts'

const LOCK_EX = 2
const LOCK_NB = 4
const RETRY_MS = 25
const LONGEST_WAIT_MS = 30_000

/**
 * Runs `work` while no other process of this machine claims or cleans labs. The kernel lets go of the lock when its
 * holder dies. Throws `LAB_LOCKED` after half a minute.
 */
export async function withMachineLock<T>(work: () => Promise<T>): Promise<T> {
  mkdirSync(RECORDS, { recursive: true, mode: 0o755 })
  const fd = openSync(join(RECORDS, '.lock'), 'a', 0o600)
  try {
    const until = performance.now() + LONGEST_WAIT_MS
    while (libc.flock(fd, LOCK_EX | LOCK_NB) !== 0) {
      if (!libc.isErrno('EAGAIN')) throw libc.failure('flock')
      if (performance.now() > until) {
        throw new AmbitError('LAB_LOCKED', 'another process has been cleaning up labs for 30 s')
      }
      await pause(RETRY_MS)
    }
    return await work()
  } finally {
    closeSync(fd)
  }
}
