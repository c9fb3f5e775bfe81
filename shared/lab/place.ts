import { type SpawnOptions, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { NetworkNamespace } from '../linux/namespace.ts'
import { AmbitError, describeError } from '../runtime/errors.ts'
import { pause } from '../runtime/lifecycle.ts'
import { LabProcess, type LabProcessOptions } from './lab-process.ts'
import { HOSTS, NAMESPACES } from './leftovers.ts'

/** The same for every run, whatever the caller's shell looks like; `node` is the one that runs this. */
const ENVIRONMENT = {
  PATH: `${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
  HOME: '/root',
  LANG: 'C.UTF-8',
}

const OUTPUT_LIMIT = 64 * 1_048_576
const PORT_LOOK_MS = 20

export interface Addresses {
  readonly address4: string
  readonly address6: string
}

export interface StartOptions {
  /** Added to a small fixed environment; the caller's own is not passed on. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Names resolve by `lab.hosts`: runs it through `ip netns exec`, which takes some milliseconds more. */
  readonly hosts?: boolean
}

export type SpawnInPlaceOptions = StartOptions & Partial<LabProcessOptions>

export interface ExecOptions extends StartOptions {
  /** It is killed then, which shows as `signal`; default 10 s. */
  readonly timeoutMs?: number
  readonly input?: string | Buffer
}

export interface ExecResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A network namespace of a lab with one address per family, where programs can run. */
export class Place {
  /** Without the lab's prefix. */
  readonly name: string
  /** As `ip netns` knows it. */
  readonly namespaceName: string
  readonly namespacePath: string
  readonly address4: string
  readonly address6: string
  #namespace: NetworkNamespace | undefined

  constructor(prefix: string, name: string, addresses: Addresses) {
    this.name = name
    this.namespaceName = `${prefix}${name}`
    this.namespacePath = join(NAMESPACES, this.namespaceName)
    this.address4 = addresses.address4
    this.address6 = addresses.address6
  }

  /** A handle that the place owns. Throws `LAB_REMOVED` when the place is gone. */
  get namespace(): NetworkNamespace {
    if (this.#namespace !== undefined) return this.#namespace
    throw new AmbitError('LAB_REMOVED', `${this.namespaceName} is removed`)
  }

  /** For the lab: the namespace has been made. */
  attach(): void {
    this.detach()
    this.#namespace = NetworkNamespace.open(this.namespacePath)
  }

  /** For the lab: the namespace is going away. */
  detach(): void {
    this.#namespace?.[Symbol.dispose]()
    this.#namespace = undefined
  }

  /** Starts a program inside. It ends with the place at the latest. */
  spawn(command: string, args: readonly string[], options: SpawnInPlaceOptions = {}): LabProcess {
    const child = this.#start(command, args, options, { stdio: ['ignore', 'pipe', 'pipe'] })
    return new LabProcess(child, {
      ...options,
      title: options.title ?? `${command} in ${this.name}`,
    })
  }

  /** Runs a program to its end. Rejects with `LAB_COMMAND` only if it cannot be started or prints too much. */
  async exec(
    command: string,
    args: readonly string[],
    options: ExecOptions = {},
  ): Promise<ExecResult> {
    const { timeoutMs = 10_000, input } = options
    const child = this.#start(command, args, options, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    const { promise, resolve, reject } = Promise.withResolvers<ExecResult>()
    const fail = (why: string, cause?: unknown): void => {
      child.kill('SIGKILL')
      reject(new AmbitError('LAB_COMMAND', `${command} in ${this.name}: ${why}`, { cause }))
    }
    const stdout = collect(child.stdout, () => fail('too much output'))
    const stderr = collect(child.stderr, () => fail('too much output'))
    child.once('error', (error) => fail(describeError(error), error))
    child.once('close', (code, signal) =>
      resolve({ code, signal, stdout: stdout(), stderr: stderr() }),
    )
    // A program need not read its input.
    child.stdin?.on('error', () => undefined).end(input)
    return await promise
  }

  /** Whether anything in the place listens on a TCP port, on either family. */
  isListening(port: number): boolean {
    return this.namespace.run(() => hasListener('tcp', port) || hasListener('tcp6', port))
  }

  /** Throws `LAB_TIMEOUT` if nothing listens in time. */
  async waitForPort(port: number, timeoutMs = 5_000): Promise<void> {
    const until = performance.now() + timeoutMs
    while (!this.isListening(port)) {
      if (performance.now() > until) {
        throw new AmbitError(
          'LAB_TIMEOUT',
          `${this.name}: nothing listens on ${port} after ${timeoutMs} ms`,
        )
      }
      await pause(PORT_LOOK_MS)
    }
  }

  /** For the lab: what programs started with `hosts` find in `/etc/hosts`. */
  writeHosts(text: string): void {
    const folder = join(HOSTS, this.namespaceName)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'hosts'), text)
  }

  /** For the lab: the place is gone for good. */
  forgetHosts(): void {
    rmSync(join(HOSTS, this.namespaceName), { recursive: true, force: true })
  }

  #start(command: string, args: readonly string[], options: StartOptions, more: SpawnOptions) {
    const { env, cwd, hosts = false } = options
    const all: SpawnOptions = {
      ...more,
      env: { ...ENVIRONMENT, ...env },
      ...(cwd === undefined ? {} : { cwd }),
    }
    if (hosts) return spawn('ip', ['netns', 'exec', this.namespaceName, command, ...args], all)
    // A child process is born into the namespace of the thread that forks it.
    return this.namespace.run(() => spawn(command, args, all))
  }
}

function collect(stream: Readable | null, onTooMuch: () => void): () => string {
  const chunks: Buffer[] = []
  let size = 0
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > OUTPUT_LIMIT) onTooMuch()
    else chunks.push(chunk)
  })
  return () => Buffer.concat(chunks).toString()
}

/** Reads the table of the namespace that the thread is in. */
function hasListener(table: 'tcp' | 'tcp6', port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  let text: string
  try {
    text = readFileSync(`/proc/thread-self/net/${table}`, 'latin1')
  } catch {
    return false
  }
  return text.split('\n').some((line) => {
    const [, local, , state] = line.trim().split(/\s+/)
    return state === '0A' && local?.endsWith(suffix) === true
  })
}
