import { spawnSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { descriptorLimit } from '../shared/linux/descriptors.ts'
import { packageVersion } from '../shared/runtime/version.ts'

/** Programs whose version a reader wants to know, with the argument that prints it. */
const PROGRAMS = {
  haproxy: '-v',
  nginx: '-v',
  wrk: '-v',
  iperf3: '--version',
  'redis-server': '--version',
} as const

/** Where figures come from, by the name of each fact. Call it before the load begins. */
export function describeMachine(): Readonly<Record<string, string>> {
  const processors = cpus()
  const facts: Record<string, string> = {
    processor: `${processors.length} x ${processors[0]?.model.trim() ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    'load before': loadavg()
      .map((load) => load.toFixed(2))
      .join(' '),
    'descriptor limit': String(descriptorLimit()),
    ambit: packageVersion(),
    node: `${process.version}, OpenSSL ${process.versions.openssl}`,
  }
  for (const [program, argument] of Object.entries(PROGRAMS)) {
    // wrk ends with an error after it has said its version.
    const { stdout, stderr } = spawnSync(program, [argument], { encoding: 'utf8', timeout: 5_000 })
    facts[program] = `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n')[0]?.slice(0, 120) ?? ''
  }
  return facts
}
