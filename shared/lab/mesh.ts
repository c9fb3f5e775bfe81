import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AmbitError } from '../runtime/errors.ts'
import type { Lab, LabNode, Pod } from './lab.ts'
import type { LabProcess } from './lab-process.ts'
import { nodeObject, podObject, toYaml } from './objects.ts'
import type { Place } from './place.ts'
import { request } from './request.ts'

export interface LabMeshOptions {
  readonly lab: Lab
  /** How the `ambit` command is run: the program and its first arguments. */
  readonly command: readonly [string, ...string[]]
  readonly nodes: readonly string[]
  /** Where objects, state, tokens and logs go; a temporary folder that is removed at the end if left out. */
  readonly directory?: string
  readonly logLevel?: string
  readonly env?: Readonly<Record<string, string>>
  /** Traffic threads of every ztunnel; what it chooses itself if left out. */
  readonly threads?: number
  /** Further arguments of `ambit ztunnel` and `ambit controlplane`. */
  readonly ztunnelArgs?: readonly string[]
  readonly controlPlaneArgs?: readonly string[]
  readonly drain?: string
}

export interface MeshPodOptions {
  readonly node: string
  /** Namespace of the object; default `default`. */
  readonly namespace?: string
  readonly serviceAccount?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly ports?: readonly { readonly name?: string; readonly port: number }[]
}

export interface MeshPod {
  readonly name: string
  readonly namespace: string
  /** Of the workload API. */
  readonly uid: string
  readonly pod: Pod
}

const READY_MS = 20_000

/**
 * A mesh in a lab: the control plane and one ztunnel a node as processes, each in the network namespace where it
 * belongs, and pods with the objects that a cluster would have for them. What is under test is the `ambit` command.
 */
export class LabMesh implements AsyncDisposable {
  readonly lab: Lab
  readonly directory: string
  readonly #options: LabMeshOptions
  readonly #nodes = new Map<string, LabNode>()
  readonly #ztunnels = new Map<string, LabProcess>()
  readonly #pods = new Map<string, MeshPod>()
  readonly #control: Place
  #controlPlane: LabProcess | undefined

  private constructor(options: LabMeshOptions, directory: string, control: Place) {
    this.#options = options
    this.lab = options.lab
    this.directory = directory
    this.#control = control
  }

  /** Brings up nodes, control plane and ztunnels; resolves when all are ready. */
  static async start(options: LabMeshOptions): Promise<LabMesh> {
    const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'ambit-mesh-')))
    const control = await options.lab.machine('control')
    const mesh = new LabMesh(options, directory, control)
    try {
      await mkdir(mesh.configDirectory, { recursive: true })
      await mkdir(join(directory, 'tokens'), { recursive: true, mode: 0o700 })
      for (const name of options.nodes) mesh.#nodes.set(name, await options.lab.node(name))
      await mesh.apply(
        'nodes',
        options.nodes.map((name) => nodeObject({ name })),
      )
      await mesh.startControlPlane()
      await Promise.all(options.nodes.map((name) => mesh.#makeToken(name)))
      await Promise.all(options.nodes.map((name) => mesh.startZtunnel(name)))
      return mesh
    } catch (error) {
      await mesh[Symbol.asyncDispose]()
      throw error
    }
  }

  /** The control plane watches this; tests and people write objects here. */
  get configDirectory(): string {
    return join(this.directory, 'config')
  }

  get stateDirectory(): string {
    return join(this.directory, 'state')
  }

  /** The namespace of the control plane; outside clients may live there too. */
  get control(): Place {
    return this.#control
  }

  get controlPlane(): LabProcess {
    if (this.#controlPlane === undefined)
      throw new AmbitError('LAB_STOPPED', 'the control plane is not running')
    return this.#controlPlane
  }

  node(name: string): LabNode {
    const node = this.#nodes.get(name)
    if (node === undefined) throw new AmbitError('LAB_UNKNOWN', `there is no node ${name}`)
    return node
  }

  ztunnel(node: string): LabProcess {
    const running = this.#ztunnels.get(node)
    if (running === undefined) throw new AmbitError('LAB_STOPPED', `no ztunnel runs on ${node}`)
    return running
  }

  tokenFile(node: string): string {
    return join(this.directory, 'tokens', node)
  }

  get rootFile(): string {
    return join(this.stateDirectory, 'root-cert.pem')
  }

  /** Where the control plane serves xDS, certificates and enrollment. */
  get controlPlaneUrl(): string {
    return `https://${this.#control.address4}:15012`
  }

  async startControlPlane(): Promise<void> {
    const [program, ...first] = this.#options.command
    const args = [
      ...first,
      'controlplane',
      '--config',
      this.configDirectory,
      '--state',
      this.stateDirectory,
      '--advertise',
      `${this.#control.address4},${this.#control.address6}`,
      ...this.#logArgs(),
      ...(this.#options.controlPlaneArgs ?? []),
    ]
    this.#controlPlane = this.#control.spawn(program, args, this.#spawnOptions())
    await this.#ready(this.#controlPlane, () => this.get(this.#control, 15_014, '/ready'))
  }

  /** Starts the ztunnel of a node and waits until it is ready, unless `wait` is false. */
  async startZtunnel(node: string, wait = true): Promise<void> {
    const [program, ...first] = this.#options.command
    const args = [
      ...first,
      'ztunnel',
      '--node',
      node,
      '--xds-address',
      this.controlPlaneUrl,
      '--ca-root',
      this.rootFile,
      '--token',
      this.tokenFile(node),
      '--netns-scope',
      this.lab.prefix,
      '--drain',
      this.#options.drain ?? '2s',
      ...(this.#options.threads === undefined ? [] : ['--threads', `${this.#options.threads}`]),
      ...this.#logArgs(),
      ...(this.#options.ztunnelArgs ?? []),
    ]
    const running = this.node(node).spawn(program, args, this.#spawnOptions())
    this.#ztunnels.set(node, running)
    if (wait) await this.#ready(running, () => this.get(this.node(node), 15_021, '/healthz/ready'))
  }

  /** Makes a pod's namespace and its object. In an ambient namespace, see `captured`. */
  async addPod(name: string, options: MeshPodOptions): Promise<MeshPod> {
    const namespace = options.namespace ?? 'default'
    const pod = await this.node(options.node).pod(name)
    const made: MeshPod = { name, namespace, uid: `Kubernetes//Pod/${namespace}/${name}`, pod }
    this.#pods.set(name, made)
    await this.apply(`pod-${name}`, [
      podObject({
        name,
        namespace,
        node: options.node,
        serviceAccount: options.serviceAccount ?? 'default',
        labels: options.labels ?? { app: name },
        addresses: [pod.address4, pod.address6],
        ports: options.ports ?? [],
      }),
    ])
    return made
  }

  /** Removes the object and the namespace. */
  async removePod(name: string): Promise<void> {
    await this.remove(`pod-${name}`)
    await this.#pods.get(name)?.pod.remove()
    this.#pods.delete(name)
  }

  /** Writes objects, or YAML text, as one file of the configuration, atomically. */
  async apply(file: string, content: string | readonly object[]): Promise<void> {
    const path = join(this.configDirectory, `${file}.yaml`)
    const text = typeof content === 'string' ? content : toYaml(content)
    await writeFile(`${this.directory}/${file}.tmp`, text)
    await rename(`${this.directory}/${file}.tmp`, path)
  }

  async remove(file: string): Promise<void> {
    await rm(join(this.configDirectory, `${file}.yaml`), { force: true })
  }

  /** Waits until every ztunnel knows the pods as HBONE, which is after they were captured. */
  async captured(...pods: readonly MeshPod[]): Promise<void> {
    await this.announced('HBONE', pods)
  }

  /** Waits until every running ztunnel knows the pods with this protocol. */
  async announced(protocol: 'HBONE' | 'TCP', pods: readonly MeshPod[]): Promise<void> {
    await this.eventually(
      `${pods.map((pod) => pod.name).join(', ')} announced as ${protocol}`,
      async () => {
        for (const node of this.#ztunnels.keys()) {
          const known = await this.workloads(node)
          if (
            !pods.every((pod) =>
              known.some((one) => one.uid === pod.uid && one.protocol === protocol),
            )
          )
            return false
        }
        return true
      },
    )
  }

  /** What the ztunnel of a node knows, from its admin port. */
  async workloads(
    node: string,
  ): Promise<readonly { readonly uid: string; readonly protocol: string }[]> {
    const dump: unknown = JSON.parse(await this.get(this.node(node), 15_000, '/config_dump'))
    if (typeof dump !== 'object' || dump === null || !('workloads' in dump)) return []
    const { workloads } = dump
    if (!Array.isArray(workloads)) return []
    return workloads.filter(isWorkload)
  }

  /** The body of a GET to a port on loopback in a namespace; rejects unless the status is 200. */
  async get(place: Place, port: number, path: string): Promise<string> {
    const answer = await request(place, { port, path })
    if (answer.status !== 200)
      throw new AmbitError('LAB_STATUS', `${path}: ${answer.status} ${answer.body.trim()}`)
    return answer.body
  }

  async eventually(
    what: string,
    check: () => Promise<boolean>,
    withinMs = READY_MS,
  ): Promise<void> {
    const deadline = performance.now() + withinMs
    let last: unknown
    while (performance.now() < deadline) {
      try {
        if (await check()) return
      } catch (error) {
        last = error
      }
      await sleep(25)
    }
    throw new AmbitError('LAB_TIMEOUT', `not within ${withinMs} ms: ${what}`, { cause: last })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#ztunnels.values()].map((one) => one.stop()))
    await this.#controlPlane?.stop()
    if (this.#options.directory === undefined)
      await rm(this.directory, { recursive: true, force: true })
  }

  async #makeToken(node: string): Promise<void> {
    const [program, ...first] = this.#options.command
    const args = [...first, 'token', 'create', '--node', node, '--state', this.stateDirectory]
    const { code, stdout, stderr } = await this.#control.exec(program, args, {
      timeoutMs: READY_MS,
    })
    if (code !== 0) throw new AmbitError('LAB_TOKEN', `no token for ${node}: ${stderr.trim()}`)
    await writeFile(this.tokenFile(node), stdout.trim(), { mode: 0o600 })
  }

  async #ready(running: LabProcess, check: () => Promise<string>): Promise<void> {
    await this.eventually(`${running.title} ready`, async () => {
      if (running.exit !== undefined) return true
      await check()
      return true
    })
    if (running.exit === undefined) return
    throw new AmbitError('LAB_EXITED', `${running.title} exited: ${running.output.slice(-2_000)}`)
  }

  #logArgs(): readonly string[] {
    return ['--log-level', this.#options.logLevel ?? 'info', '--log-format', 'json']
  }

  #spawnOptions() {
    return this.#options.env === undefined ? {} : { env: this.#options.env }
  }
}

const isWorkload = (value: unknown): value is { uid: string; protocol: string } =>
  typeof value === 'object' && value !== null && 'uid' in value && 'protocol' in value
