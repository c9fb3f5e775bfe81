import { readFileSync, writeFileSync } from 'node:fs'
import type { NetworkNamespace } from '../../shared/linux/namespace.ts'

/** Shows the setting of the namespace that the reading thread is in. */
const SETTING = '/proc/sys/net/ipv4/tcp_migrate_req'

/**
 * Lets connections that wait at a closed listener move to its siblings, for both families: those of a lost worker go
 * to the others. A kernel that lacks the setting (before 5.14), or will not have it changed, resets them: `refused`.
 */
export function allowMigration(namespace: NetworkNamespace): 'changed' | 'was-allowed' | 'refused' {
  return namespace.run(() => {
    const before = read()
    if (before === undefined) return 'refused'
    if (before !== '0') return 'was-allowed'
    return write('1') ? 'changed' : 'refused'
  })
}

/** The kernel's default again. */
export function forbidMigration(namespace: NetworkNamespace): void {
  namespace.run(() => write('0'))
}

function read(): string | undefined {
  try {
    return readFileSync(SETTING, 'latin1').trim()
  } catch {
    return undefined
  }
}

function write(value: '0' | '1'): boolean {
  try {
    writeFileSync(SETTING, value)
    return true
  } catch {
    return false
  }
}
