import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { ResultsSchema } from '../../bench/results.ts'
import { knownLabs } from '../../shared/lab/record.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'

const MAIN = join(packageRoot(), 'cli/main.ts')
const TOPOLOGIES = ['direct', 'ambit-l4-two-nodes', 'haproxy-mtls-tuned', 'nginx-mtls-stock']

async function bench(...args: readonly string[]) {
  const out = mkdtempSync(join(tmpdir(), 'ambit-bench-'))
  onTestFinished(() => rmSync(out, { recursive: true, force: true }))
  const child = spawn(process.execPath, [MAIN, 'bench', '--out', out, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] },
  })
  onTestFinished(() => void child.kill('SIGTERM'))
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { out, pid: child.pid, stdout, stderr, code: code as number | null }
}

test('a tiny run measures each topology, proves its path and leaves nothing behind', async () => {
  const only = [...TOPOLOGIES, 'iperf3-1', 'new-connections'].join(',')
  const flags = ['--quick', '--only', only, '--duration', '1s', '--rounds', '1']
  const { out, pid, stdout, stderr, code } = await bench(...flags, '--baseline', 'direct')
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  const results = ResultsSchema.parse(JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')))
  expect(results.topologies.map(({ name }) => name)).toEqual(TOPOLOGIES)
  for (const { name, encrypted, proof } of results.topologies) {
    expect(proof.framesThatShowThePayload > 0, name).toBe(!encrypted)
    expect(proof.hops, name).toHaveLength(encrypted ? 2 : 0)
    for (const hop of proof.hops) expect(hop.connections, hop.name).toBeGreaterThan(0)
  }
  expect(results.cells).toHaveLength(2 * TOPOLOGIES.length)
  for (const { workload, topology, summary, runs } of results.cells) {
    const label = `${workload} on ${topology}`
    expect(summary?.value.median, label).toBeGreaterThan(0)
    expect(summary?.ratios['direct'], label).toBeGreaterThan(0)
    expect(runs, label).toHaveLength(1)
    const proxies = runs[0]?.proxies ?? []
    expect(proxies, label).toHaveLength(topology === 'direct' ? 0 : 2)
    for (const proxy of proxies) {
      expect(proxy.cpuSeconds, label).toBeGreaterThan(0)
      expect(proxy.pssBytes, label).toBeGreaterThan(1_000_000)
    }
  }
  expect(readFileSync(join(out, 'index.html'), 'utf8')).toContain('<svg')
  for (const topology of TOPOLOGIES) expect(stdout).toContain(topology)
  expect(knownLabs().filter(({ record }) => record.pid === pid)).toEqual([])
}, 90_000)

test('a name that nothing has is refused at once', async () => {
  const { code, stderr } = await bench('--only', 'warp')
  expect(code).toBe(2)
  expect(stderr).toMatch(/^ambit: --only: nothing is called 'warp'/)
})
