import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, test } from 'vitest'
import { namespaceKeyAt } from '../../shared/linux/namespace.ts'
import { processesInAny, startTimeOf } from '../../shared/linux/process.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'

const MAIN = join(packageRoot(), 'cli/main.ts')
const CHECK_MS = 60_000

class Demo {
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess
  readonly #listeners = new Set<(line: string) => void>()

  constructor(...args: readonly string[]) {
    this.#child = spawn(process.execPath, [MAIN, 'demo', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] },
    })
    if (this.#child.pid !== undefined) own.add(this.#child.pid)
    this.exited = once(this.#child, 'close').then(([code]) => code as number | null)
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) continue
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line)
        for (const listener of this.#listeners) listener(line)
      })
    }
  }

  get output(): string {
    return this.lines.join('\n')
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** The next line, or one that was there, that matches. */
  async line(pattern: RegExp): Promise<string> {
    const known = this.lines.find((line) => pattern.test(line))
    if (known !== undefined) return known
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const look = (line: string): void => {
      if (pattern.test(line)) resolve(line)
    }
    this.#listeners.add(look)
    void this.exited.then(() => reject(new Error(`ended without ${pattern}:\n${this.output}`)))
    return await promise.finally(() => this.#listeners.delete(look))
  }
}

/** What a demo may not change on this machine. */
function machine() {
  const sysctls = ['ipv4', 'ipv6'].flatMap((family) => settingsIn(`/proc/sys/net/${family}`))
  return {
    links: readdirSync('/sys/class/net').sort(),
    rules: execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
    routes: execFileSync('ip', ['route', 'show', 'table', 'all'], { encoding: 'utf8' }),
    sysctls: Object.fromEntries(sysctls),
  }
}

function settingsIn(folder: string): [string, string][] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile()) return []
    try {
      return [[path, readFileSync(path, 'utf8')] as [string, string]]
    } catch {
      return []
    }
  })
}

const NAMESPACES = '/var/run/netns'
const RECORDS = '/run/ambit/lab'

const namespacesOf = (prefix: string): string[] => namesIn(NAMESPACES, prefix)

const namesIn = (folder: string, prefix: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith(prefix)) : []

/** The processes in the namespaces of a demo, as pid and start time. */
function processesOf(prefix: string): (readonly [number, string | undefined])[] {
  const keys = namespacesOf(prefix).map((name) => namespaceKeyAt(join(NAMESPACES, name)) ?? '')
  return processesInAny(new Set(keys)).map((pid) => [pid, startTimeOf(pid)] as const)
}

/** The demo's name is in the commands that it prints, and in what it says about its removal. */
const prefixIn = (line: string): string => `${/ambit-demo\d*/.exec(line)?.[0] ?? 'none'}-`

/** A name that is free again may at once be another run's, which is its owner's affair. */
function expectNothingOf(prefix: string): void {
  const id = prefix.slice('ambit-'.length, -1)
  const record = join(RECORDS, `${id}.json`)
  if (existsSync(record)) {
    const owner: unknown = JSON.parse(readFileSync(record, 'utf8')).pid
    expect(own.has(Number(owner)), `${record} is of this test`).toBe(false)
    expect(startTimeOf(Number(owner)), `${record} is of a dead process`).toBeDefined()
    return
  }
  expect(namespacesOf(prefix)).toEqual([])
  expect(namesIn('/etc/netns', prefix)).toEqual([])
  expect(existsSync(join(RECORDS, id))).toBe(false)
}

/** The pids of the demos that were started here. */
const own = new Set<number>()
const started: Demo[] = []
function demo(...args: readonly string[]): Demo {
  const one = new Demo(...args)
  started.push(one)
  return one
}

afterEach(async () => {
  for (const one of started.splice(0)) {
    one.kill('SIGTERM')
    await one.exited
  }
})

const READY = /ip netns exec ambit-demo\d*-frontend curl/
const FIGURES =
  /control plane stopped, (\d+) pairs, (\d+) connections by mTLS, (\d+) plaintext, \d+ open, (\d+) denied/
const REMOVED = /^ok +removal +no namespace/

test('the check passes within a minute and leaves the machine as it was', async () => {
  const before = machine()
  const began = performance.now()
  const one = demo('--check')
  expect(await one.exited, one.output).toBe(0)
  expect(performance.now() - began).toBeLessThan(CHECK_MS)
  expect(one.lines.filter((line) => line.startsWith('FAIL'))).toEqual([])
  expect(one.lines.filter((line) => line.startsWith('ok ')).length).toBeGreaterThanOrEqual(9)
  expectNothingOf(prefixIn(await one.line(REMOVED)))
  expect(machine()).toEqual(before)
})

describe('each sabotage makes its check fail', () => {
  test.each([
    ['plaintext', 'encrypted on the wire'],
    ['policy', 'policy change'],
    ['capture', 'caller address'],
  ])('%s: %s', async (kind, check) => {
    const one = demo('--check', '--sabotage', kind)
    expect(await one.exited, one.output).toBe(1)
    expect(one.output).toMatch(new RegExp(`^FAIL ${check} `, 'm'))
    expect(one.output).toMatch(/^ok +start /m)
    await one.line(REMOVED)
  })
})

test('a second demo works beside a first, which ends by Ctrl-C without a trace', async () => {
  const first = demo()
  const prefix = prefixIn(await first.line(READY))
  const second = demo('--check')
  expect(await second.exited, second.output).toBe(0)
  expect(prefixIn(await second.line(REMOVED))).not.toBe(prefix)
  const processes = processesOf(prefix)
  expect(processes.length).toBeGreaterThanOrEqual(11)
  first.kill('SIGINT')
  expect(await first.exited, first.output).toBe(0)
  expectNothingOf(prefix)
  for (const [pid, startTime] of processes) expect(startTimeOf(pid)).not.toBe(startTime)
})

test('what a killed run left is gone after the next', async () => {
  const killed = demo()
  const prefix = prefixIn(await killed.line(READY))
  const processes = processesOf(prefix)
  expect(processes.length).toBeGreaterThanOrEqual(11)
  killed.kill('SIGKILL')
  await killed.exited
  const next = demo()
  await next.line(READY)
  for (const [pid, startTime] of processes) expect(startTimeOf(pid)).not.toBe(startTime)
  next.kill('SIGTERM')
  expect(await next.exited, next.output).toBe(0)
  expectNothingOf(prefix)
})

test('a Ctrl-C while it starts leaves nothing', async () => {
  const one = demo()
  const prefix = prefixIn(await one.line(/^starting ambit-demo/))
  await one.line(/^starting pods/)
  one.kill('SIGINT')
  expect(await one.exited, one.output).toBe(130)
  expect(one.output).not.toMatch(/ambit demo:/)
  expectNothingOf(prefix)
})

test('the things to try work as they are printed', async () => {
  const one = demo()
  const call = (await one.line(READY)).trim()
  const payments = (): { code: number | null; answer: string } => {
    const { status, stdout } = spawnSync('sh', ['-c', call], { encoding: 'utf8', timeout: 5_000 })
    return { code: status, answer: stdout }
  }
  expect(payments()).toMatchObject({ code: 0, answer: expect.stringContaining('"app":"payments"') })
  execFileSync('sh', ['-c', (await one.line(/^ +sed -i/)).trim()])
  await expect.poll(() => payments().code, { timeout: 1_000, interval: 50 }).not.toBe(0)
  execFileSync('sh', ['-c', (await one.line(/and back: sed -i/)).replace(/.*and back: /, '')])
  await expect.poll(() => payments().code, { timeout: 1_000, interval: 50 }).toBe(0)
  execFileSync('sh', ['-c', (await one.line(/^ +kill \d+$/)).trim()])
  await one.line(/^control plane: stopped; traffic goes on$/)
  expect(payments().code).toBe(0)
  const figures =
    FIGURES.exec(await one.line(FIGURES))
      ?.slice(1)
      .map(Number) ?? []
  const [pairs = 0, mutualTls = 0, plaintext = 0, denied = 0] = figures
  expect(pairs).toBeGreaterThanOrEqual(9)
  for (const count of [mutualTls, plaintext, denied]) expect(count).toBeGreaterThan(0)
})

test('without root it says why it needs it and what to run', () => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, 'demo'], {
    encoding: 'utf8',
    uid: 65_534,
    env: { PATH: process.env['PATH'] },
  })
  expect(status).toBe(1)
  expect(stderr.trim().split('\n')).toEqual([expect.stringMatching(/root.*sudo npm start/)])
})
