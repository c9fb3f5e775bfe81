import { join } from 'node:path'
import { expect } from 'vitest'
import { Scene } from './scene.ts'
import { startWebServer, type WebServer } from './web-server.ts'

/** `payment` is called by two pods of its namespace, by one of another on its own node, and by one outside the mesh. */
const PODS = {
  payment: { node: 'node-2', serviceAccount: 'payment' },
  orders: { node: 'node-1', serviceAccount: 'order-service' },
  analytics: { node: 'node-1', serviceAccount: 'analytics' },
  shipping: { node: 'node-2', namespace: 'shipping', serviceAccount: 'order-service' },
  legacy: { node: 'node-1', namespace: 'legacy' },
} as const

const CALLERS = ['orders', 'analytics', 'shipping', 'legacy'] as const
export type Caller = (typeof CALLERS)[number]
const PORTS = [8080, 9090] as const

export interface Call {
  readonly who: Caller
  readonly port: (typeof PORTS)[number]
  readonly family: 4 | 6
}

const CALLS: readonly Call[] = CALLERS.flatMap((who) =>
  PORTS.flatMap((port) => ([4, 6] as const).map((family) => ({ who, port, family }))),
)

/** Which of the calls may pass. */
export type Allowed = (call: Call) => boolean

export const all: Allowed = () => true
export const nobody: Allowed = () => false
export const only =
  (...names: readonly Caller[]): Allowed =>
  ({ who }) =>
    names.includes(who)
export const but =
  (...names: readonly Caller[]): Allowed =>
  ({ who }) =>
    !names.includes(who)
/** Those that have an identity. */
export const meshOnly = but('legacy')

/** A server in the mesh and everyone who calls it. */
export class Callers implements AsyncDisposable {
  readonly scene: Scene<keyof typeof PODS>
  readonly #server: WebServer
  #round = 0

  private constructor(scene: Scene<keyof typeof PODS>, server: WebServer) {
    this.scene = scene
    this.#server = server
  }

  static async start(): Promise<Callers> {
    const scene = await Scene.start({ ambient: ['default', 'shipping'], pods: PODS })
    try {
      const directory = join(scene.lab.directory, 'nginx')
      return new Callers(scene, await startWebServer(scene.pod('payment'), directory, PORTS))
    } catch (error) {
      await scene[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Of both families. */
  addressesOf(...names: readonly Caller[]): string[] {
    return names.flatMap((name) => [this.scene.pod(name).address4, this.scene.pod(name).address6])
  }

  /** Lets everyone call, and compares who got an answer, and whose calls the server saw, with who may. */
  async expectAllowed(allowed: Allowed): Promise<void> {
    const path = `/round-${++this.#round}`
    const answered = (await Promise.all(CALLERS.map((who) => this.#callAll(who, path)))).flat()
    const names = (calls: readonly Call[]): string[] =>
      calls.map(({ who, port, family }) => `${who} to ${port} by IPv${family}`)
    expect(names(answered)).toEqual(names(CALLS.filter(allowed)))
    const expected = CALLS.filter(allowed).map(({ who, port, family }) => {
      const { address4, address6 } = this.scene.pod(who)
      return `${family === 4 ? address4 : address6} ${port} ${path}`
    })
    const seen = (): string[] => this.#server.requests().filter((line) => line.endsWith(` ${path}`))
    await expect
      .poll(() => seen().toSorted(), { timeout: 2_000, interval: 10 })
      .toEqual(expected.toSorted())
  }

  /** One curl for all calls of a pod, each on a connection of its own; those that got the answer. */
  async #callAll(who: Caller, path: string): Promise<readonly Call[]> {
    const urlOf = ({ port, family }: Call): string =>
      `http://${this.scene.host('payment', family)}:${port}${path}`
    const calls = CALLS.filter((call) => call.who === who)
    const args = ['-gsS', '-m', '5', '-w', '%{http_code} %{url}\\n', ...calls.map(urlOf)]
    const { stdout } = await this.scene.pod(who).exec('curl', args, { timeoutMs: 25_000 })
    return calls.filter((call) => stdout.includes(`welcome\n200 ${urlOf(call)}\n`))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.scene[Symbol.asyncDispose]()
  }
}
