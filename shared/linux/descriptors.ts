import { readdirSync, readFileSync } from 'node:fs'

/** How many descriptors this process may have open (the soft limit); `Infinity` if there is no limit. */
export function descriptorLimit(): number {
  const match = /^Max open files\s+(\d+|unlimited)/m.exec(
    readFileSync('/proc/self/limits', 'latin1'),
  )
  return match === null || match[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(match[1])
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  // The listing itself has one open.
  return readdirSync('/proc/self/fd').length - 1
}
