import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { AmbitError, codeOf, describeError } from '../shared/runtime/errors.ts'
import { packageRoot } from '../shared/runtime/package-root.ts'
import type { App } from './apps.ts'
import { TOPOLOGIES, workloadsWith } from './catalogue.ts'
import { describeMachine } from './machine.ts'
import { renderPage } from './page.ts'
import { type BenchFlags, isWorthwhile, type Plan, planOf } from './plan.ts'
import { type Proof, provePath } from './proof.ts'
import { type Results, resultsOf } from './results.ts'
import { rotate } from './rotation.ts'
import { Site } from './site.ts'
import { renderTable } from './table.ts'
import type { RunningTopology, Topology } from './topology/topology.ts'
import { httpKeepAlive } from './workload/http-keep-alive.ts'

export type { BenchFlags } from './plan.ts'

export interface BenchOptions extends BenchFlags {
  /** The folder for `results.json` and `index.html`. */
  readonly out: string
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const WARM_UP = { durationMs: 1_000, workload: httpKeepAlive(8, '10k') }

/** The benchmark from its start to its end; resolves with the exit code when nothing of it is left. */
export async function runBench(options: BenchOptions): Promise<number> {
  const plan = planOf(options, { topologies: TOPOLOGIES, workloadsWith })
  if (!hasSystemTools()) return 1
  const stop = new AbortController()
  const onStop = (): void => stop.abort(new AmbitError('BENCH_STOPPED', 'stopped'))
  // Kept to the end: a second Ctrl-C must not leave half of it behind.
  for (const name of STOP_SIGNALS) process.on(name, onStop)
  try {
    const results = await orStopped(stop.signal, (signal) => measure(plan, signal))
    publish(results, resolve(options.out))
    return results.cells.some((cell) => cell.failures.length > 0) ? 1 : 0
  } catch (error) {
    if (codeOf(error) === 'BENCH_STOPPED') return 130
    process.stderr.write(`ambit bench: ${describeError(error)}\n`)
    return 1
  } finally {
    for (const name of STOP_SIGNALS) process.off(name, onStop)
  }
}

function hasSystemTools(): boolean {
  const script = join(packageRoot(), 'scripts', 'system-tools.sh')
  return spawnSync('sh', [script, 'test'], { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

async function measure(plan: Plan, signal: AbortSignal): Promise<Results> {
  const startedAt = new Date()
  const began = performance.now()
  const machine = describeMachine()
  say(
    `${plan.topologies.length} topologies, ${plan.workloads.length} workloads, ${plan.rounds} rounds of ${plan.durationMs / 1_000} s`,
  )
  await using site = await Site.make()
  // Ends every process, and with them whatever is being waited for.
  const onStop = (): void => void site[Symbol.asyncDispose]()
  signal.addEventListener('abort', onStop)
  try {
    const { running, proofs } = await build(site, plan, signal)
    const cells = await rotate({ plan, running, say, signal })
    const tookSeconds = (performance.now() - began) / 1_000
    return resultsOf({ plan, startedAt, tookSeconds, machine, proofs, cells })
  } finally {
    signal.removeEventListener('abort', onStop)
  }
}

/** Starts every topology with its applications, proves its path, and lets each run once for nothing. */
async function build(site: Site, plan: Plan, signal: AbortSignal) {
  const running = new Map<Topology, RunningTopology>()
  const proofs = new Map<string, Proof>()
  for (const topology of plan.topologies) {
    signal.throwIfAborted()
    const started = await topology.start(site)
    for (const app of appsFor(topology, plan)) await site.app(app, started.server)
    const proof = await provePath(topology, started)
    const { quick } = plan
    const { workload, durationMs } = WARM_UP
    await workload.run({ topology, running: started, durationMs, quick })
    const wire = topology.encrypted ? 'unreadable' : 'readable, as it should be'
    say(`${topology.name}: up, ${proof.hops.length} hops counted it, ${wire} on the wire`)
    running.set(topology, started)
    proofs.set(topology.name, proof)
  }
  return { running, proofs }
}

/** The echo server is for the proof, the HTTP server for the warm-up. */
const appsFor = (topology: Topology, plan: Plan): ReadonlySet<App> =>
  new Set<App>([
    'echo',
    'http',
    ...plan.workloads.filter((one) => isWorthwhile(topology, one)).flatMap((one) => one.apps),
  ])

function publish(results: Results, out: string): void {
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'results.json'), `${JSON.stringify(results, null, 2)}\n`)
  writeFileSync(join(out, 'index.html'), renderPage(results))
  process.stdout.write(renderTable(results))
  say(`\n${results.took.toFixed(0)} s; results.json and index.html are in ${out}`)
}

/** When `signal` aborts, `work` fails in its own way; what counts is that it was stopped. */
async function orStopped<T>(
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await work(signal)
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)
