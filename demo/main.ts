import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { systemClock } from '../shared/runtime/clock.ts'
import { AmbitError, describeError } from '../shared/runtime/errors.ts'
import { pause } from '../shared/runtime/lifecycle.ts'
import { packageRoot } from '../shared/runtime/package-root.ts'
import { checkDemo } from './check.ts'
import { LiveView } from './live-view.ts'
import { RunningShop } from './running-shop.ts'
import { findSabotage } from './sabotage.ts'
import { Screen, type Terminal } from './screen.ts'

export interface DemoOptions {
  /** Verify from outside and end, instead of showing it until Ctrl-C. */
  readonly check: boolean
  /** Breaks the running mesh before the checks, which have to notice: `plaintext`, `policy` or `capture`. */
  readonly sabotage: string | undefined
}

const REDRAW_MS = 1_000
/** Without a terminal, a line every five seconds. */
const TURNS_A_LINE = 5
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The demo from its start to its end; resolves with the exit code when nothing of it is left. */
export async function runDemo(options: DemoOptions): Promise<number> {
  if (!hasSystemTools()) return 1
  const stop = new AbortController()
  const onStop = (): void => stop.abort(new AmbitError('DEMO_STOPPED', 'stopped'))
  // Kept to the end: a second Ctrl-C must not leave half of it behind.
  for (const name of STOP_SIGNALS) process.on(name, onStop)
  process.stdout.on('error', onStop)
  try {
    if (options.check) {
      return await checkDemo(print, stop.signal, findSabotage(options.sabotage))
    }
    await showDemo(stop.signal)
    return 0
  } catch (error) {
    if (stop.signal.aborted) return 130
    process.stderr.write(`ambit demo: ${describeError(error)}\n`)
    return 1
  } finally {
    for (const name of STOP_SIGNALS) process.off(name, onStop)
  }
}

/** Installed from the registry there is no `npm start` that has looked. The script says what is missing, root too. */
function hasSystemTools(): boolean {
  const script = join(packageRoot(), 'scripts', 'system-tools.sh')
  return spawnSync('sh', [script, 'demo'], { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

async function showDemo(stop: AbortSignal): Promise<void> {
  const started = performance.now()
  const shop = await RunningShop.start((step) => print(`starting ${step}`), stop)
  try {
    const seconds = ((performance.now() - started) / 1_000).toFixed(1)
    print(`ready after ${seconds} s`)
    const view = new LiveView(shop, systemClock)
    if (process.stdout.isTTY) await drawUntil(stop, view)
    else await printUntil(stop, view)
  } finally {
    print('removing everything')
    await shop[Symbol.asyncDispose]()
  }
}

async function drawUntil(stop: AbortSignal, view: LiveView): Promise<void> {
  const terminal: Terminal = process.stdout
  const hasColours = process.stdout.hasColors()
  using screen = new Screen(terminal, hasColours)
  const restore = (): void => screen[Symbol.dispose]()
  const redraw = (): void => screen.draw(view.picture())
  process.once('exit', restore)
  process.stdout.on('resize', redraw)
  try {
    while (!stop.aborted) {
      await view.refresh()
      redraw()
      await pause(REDRAW_MS, stop)
    }
  } finally {
    process.off('exit', restore)
    process.stdout.off('resize', redraw)
  }
}

async function printUntil(stop: AbortSignal, view: LiveView): Promise<void> {
  for (const line of view.tryLines()) print(line.text)
  let saidStopped = false
  for (let turn = 0; !stop.aborted; turn++) {
    if (!view.controlPlaneRuns && !saidStopped) {
      saidStopped = true
      print('control plane: stopped; traffic goes on')
    }
    await view.refresh()
    if (turn % TURNS_A_LINE === 0) print(view.line())
    await pause(REDRAW_MS, stop)
  }
}

const print = (line: string): void => void process.stdout.write(`${line}\n`)
