import { cp, mkdir } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { appPath } from '../shared/lab/apps/app-path.ts'
import { Lab } from '../shared/lab/lab.ts'
import type { LabProcess } from '../shared/lab/lab-process.ts'
import { LabMesh, type MeshPod } from '../shared/lab/mesh.ts'
import type { ExecResult, Place } from '../shared/lab/place.ts'
import { AmbitError } from '../shared/runtime/errors.ts'
import { type Link, parseLinks } from './links.ts'
import { CALLS, NODES, nodeOf } from './placement.ts'
import { readWantedPods, shopDirectory, type WantedPod } from './shop.ts'
import { type ThingsToTry, thingsToTry } from './things-to-try.ts'

/** A pod of the shop with the program that runs in it. */
export interface ShopPod {
  readonly wanted: WantedPod
  readonly made: MeshPod
  readonly place: Place
}

const PORT_MS = 15_000
const CURL_SECONDS = 2

/** The sample shop in a mesh of two nodes, as processes and network namespaces of this machine. */
export class RunningShop implements AsyncDisposable {
  readonly lab: Lab
  readonly mesh: LabMesh
  readonly things: ThingsToTry
  readonly #pods: ReadonlyMap<string, ShopPod>
  readonly #programs: LabProcess[] = []

  private constructor(lab: Lab, mesh: LabMesh, pods: readonly ShopPod[]) {
    this.lab = lab
    this.mesh = mesh
    this.things = thingsToTry(lab.prefix, mesh.configDirectory)
    this.#pods = new Map(pods.map((pod) => [pod.wanted.name, pod]))
  }

  /**
   * Brings everything up; resolves when every pod is captured and every program listens. `say` gets a word on what is
   * being done. When `signal` aborts or something fails, what was made is removed before the promise rejects.
   */
  static async start(say: (step: string) => void, signal: AbortSignal): Promise<RunningShop> {
    signal.throwIfAborted()
    const lab = await Lab.createUnique('demo')
    try {
      return await RunningShop.#build(lab, say, signal)
    } catch (error) {
      await lab.dispose()
      throw error
    }
  }

  /** Only waits are cut short: what is being made while the lab is removed could be left behind. */
  static async #build(lab: Lab, say: (step: string) => void, signal: AbortSignal) {
    const step = (text: string): void => {
      signal.throwIfAborted()
      say(text)
    }
    step(`${lab.prefix.slice(0, -1)}: nodes, control plane and ztunnels`)
    await mkdir(join(lab.directory, 'config'), { recursive: true })
    await cp(shopDirectory(), join(lab.directory, 'config'), { recursive: true })
    const mesh = await LabMesh.start({
      lab,
      command: ambitCommand(),
      nodes: NODES,
      directory: lab.directory,
      logLevel: 'warn',
    })
    step('pods')
    const shop = new RunningShop(lab, mesh, await addPods(mesh))
    step('capture')
    await orStopped(signal, mesh.captured(...shop.meshPods.map((pod) => pod.made)))
    await shop.#nameServices()
    step('applications')
    await orStopped(signal, shop.#startPrograms())
    return shop
  }

  get pods(): readonly ShopPod[] {
    return [...this.#pods.values()]
  }

  get meshPods(): readonly ShopPod[] {
    return this.pods.filter((pod) => pod.wanted.inMesh)
  }

  pod(name: string): ShopPod {
    const pod = this.#pods.get(name)
    if (pod === undefined) throw new AmbitError('DEMO_SAMPLE', `the sample has no pod ${name}`)
    return pod
  }

  /** Everything that it runs. */
  get processes(): readonly LabProcess[] {
    const ztunnels = NODES.map((node) => this.mesh.ztunnel(node))
    return [this.mesh.controlPlane, ...ztunnels, ...this.#programs]
  }

  /** Runs curl in a pod, with the names that a user has there. */
  async curl(pod: string, url: string, ...more: readonly string[]): Promise<ExecResult> {
    const args = ['-sS', '--fail', '--max-time', String(CURL_SECONDS), ...more, url]
    return await this.pod(pod).place.exec('curl', args, { hosts: true })
  }

  /** Whom the ztunnels saw talk to whom; a ztunnel that does not answer is left out. */
  async links(): Promise<readonly Link[]> {
    const answers = await Promise.allSettled(
      NODES.map(async (node) => {
        return parseLinks(await this.mesh.get(this.mesh.node(node), 15_000, '/links'))
      }),
    )
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
  }

  /** Ends every process and removes everything. Safe to repeat. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab.dispose()
  }

  /**
   * Gives names to services until there is DNS: their addresses, but for pods outside the mesh, whose calls nobody
   * redirects, the addresses of the pods behind them.
   */
  async #nameServices(): Promise<void> {
    const dump = await this.mesh.get(this.mesh.node(NODES[0]), 15_000, '/config_dump')
    const entries = servicesIn(dump)
    this.lab.hosts(entries)
    const direct = entries.flatMap(({ names }) =>
      this.pods
        .filter((pod) => pod.wanted.labels['app'] === names[0])
        .map((pod) => `${pod.place.address4} ${names.join(' ')}`),
    )
    for (const pod of this.pods.filter(({ wanted }) => !wanted.inMesh)) {
      pod.place.writeHosts(['127.0.0.1 localhost', '::1 localhost', ...direct, ''].join('\n'))
    }
  }

  async #startPrograms(): Promise<void> {
    for (const pod of this.pods) this.#programs.push(startProgram(pod))
    await Promise.all(this.pods.map(({ place, wanted }) => place.waitForPort(wanted.port, PORT_MS)))
  }
}

async function addPods(mesh: LabMesh): Promise<readonly ShopPod[]> {
  const wanted = await readWantedPods(mesh.configDirectory)
  const made = await Promise.allSettled(
    wanted.map(async (pod): Promise<ShopPod> => {
      const { name, namespace, serviceAccount, labels, port } = pod
      const made = await mesh.addPod(name, {
        node: nodeOf(name),
        namespace,
        serviceAccount,
        labels,
        ports: [{ port }],
      })
      return { wanted: pod, made, place: made.pod }
    }),
  )
  return made.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
}

/** The result of `work`, unless `signal` aborts before. */
async function orStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(signal.reason)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  return await Promise.race([work, promise]).finally(() =>
    signal.removeEventListener('abort', stop),
  )
}

function startProgram({ wanted, place }: ShopPod): LabProcess {
  const { name, labels, port } = wanted
  if (wanted.program === 'redis') {
    const bind = ['--port', String(port), '--bind', '*', '-::*', '--protected-mode', 'no']
    const volatile = ['--save', '', '--appendonly', 'no', '--dir', '/']
    return place.spawn('redis-server', [...bind, ...volatile])
  }
  const who = [
    '--name',
    labels['app'] ?? name,
    '--version',
    labels['version'] ?? 'v1',
    '--pod',
    name,
  ]
  const calls = (CALLS[name] ?? []).flatMap(({ perSecond, url, keepAlive = false }) => [
    '--call',
    `${perSecond} ${keepAlive ? 'keepalive ' : ''}${url}`,
  ])
  const args = [appPath('http-app'), '--port', String(port), ...who, ...calls]
  return place.spawn(process.execPath, args, { hosts: true })
}

const Dump = z.object({
  services: z.array(
    z.object({ name: z.string(), namespace: z.string(), vips: z.array(z.string()) }),
  ),
})

/** The IPv4 addresses of the services, each with the names that a pod of the same namespace would use. */
function servicesIn(dump: string) {
  return Dump.parse(JSON.parse(dump)).services.flatMap(({ name, namespace, vips }) => {
    const address = vips
      .map((vip) => vip.slice(vip.indexOf('/') + 1))
      .find((vip) => !vip.includes(':'))
    const names = [name, `${name}.${namespace}`, `${name}.${namespace}.svc.cluster.local`]
    return address === undefined ? [] : [{ address, names }]
  })
}

/** The `ambit` command of this same package: TypeScript beside sources, JavaScript beside what was built. */
function ambitCommand(): [string, string] {
  const main = new URL(`../cli/main${extname(import.meta.url)}`, import.meta.url)
  return [process.execPath, fileURLToPath(main)]
}
