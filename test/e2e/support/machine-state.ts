import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { namespaceKeyAt } from '../../../shared/linux/namespace.ts'
import { processesInAny, startTimeOf } from '../../../shared/linux/process.ts'

const NAMESPACES = '/var/run/netns'

/** What a mesh may not change on this machine: links, rules, routes and settings outside its own namespaces. */
export function machineState() {
  return {
    links: readdirSync('/sys/class/net').sort(),
    rules: execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
    routes: execFileSync('ip', ['route', 'show', 'table', 'all'], { encoding: 'utf8' }),
    routing: execFileSync('ip', ['rule'], { encoding: 'utf8' }),
    settings: Object.fromEntries(
      ['ipv4', 'ipv6'].flatMap((family) => settingsIn(`/proc/sys/net/${family}`)),
    ),
  }
}

/** The namespaces of a lab, and its folders in /etc/netns and among the records. */
export function namesOf(lab: { readonly id: string; readonly prefix: string }): readonly string[] {
  return [
    ...namesIn(NAMESPACES, lab.prefix),
    ...namesIn('/etc/netns', lab.prefix),
    ...namesIn('/run/ambit/lab', `${lab.id}.`),
  ]
}

/** Every process inside the namespaces with this prefix: whether it still runs can be asked later. */
export function processesOf(prefix: string): readonly { readonly isRunning: () => boolean }[] {
  const keys = namesIn(NAMESPACES, prefix).map((name) => namespaceKeyAt(join(NAMESPACES, name)))
  return processesInAny(new Set(keys.filter((key) => key !== undefined))).map((pid) => {
    const startTime = startTimeOf(pid)
    return { isRunning: () => startTimeOf(pid) === startTime }
  })
}

const namesIn = (folder: string, prefix: string): readonly string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith(prefix)) : []

function settingsIn(folder: string): readonly (readonly [string, string])[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile()) return []
    try {
      return [[path, readFileSync(path, 'utf8')] as const]
    } catch {
      return []
    }
  })
}
