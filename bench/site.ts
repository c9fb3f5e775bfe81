import { mkdirSync, writeFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Lab, type LabNode } from '../shared/lab/lab.ts'
import { LabMesh } from '../shared/lab/mesh.ts'
import { namespaceObject } from '../shared/lab/objects.ts'
import type { Place } from '../shared/lab/place.ts'
import { type App, startApp } from './apps.ts'
import { type PeerCertificates, writePeerCertificates } from './peer-certificates.ts'

const MESH_NODES = ['mesh-1', 'mesh-2'] as const
const PLAIN_NODES = ['plain-1', 'plain-2'] as const

/** Alike in every namespace that traffic passes, so that no topology runs out of what another has. */
const SYSCTLS = {
  'ipv4/ip_local_port_range': '10000 65535',
  'ipv4/tcp_tw_reuse': '1',
  'core/somaxconn': '4096',
}

/** The mesh that the topologies through ambit share. */
export interface SiteMesh {
  readonly mesh: LabMesh
  /** What the ztunnels and the control plane log, the access log included. */
  readonly log: string
}

/** Where topologies are built: a lab with two plain nodes, two mesh nodes, and what they share, each made when first asked for. */
export class Site implements AsyncDisposable {
  readonly lab: Lab
  #plain: Promise<readonly LabNode[]> | undefined
  #mesh: Promise<SiteMesh> | undefined
  #certificates: PeerCertificates | undefined
  readonly #apps = new Map<string, Promise<unknown>>()

  private constructor(lab: Lab) {
    this.lab = lab
  }

  static async make(): Promise<Site> {
    return new Site(await Lab.createUnique('bench'))
  }

  /** For the files of one topology; goes with the lab. */
  directory(name: string): string {
    const path = join(this.lab.directory, name)
    mkdirSync(path, { recursive: true, mode: 0o755 })
    return path
  }

  /** A pod outside any mesh. */
  async plainPod(name: string, node: 0 | 1): Promise<Place> {
    this.#plain ??= this.#makePlainNodes()
    const made = (await this.#plain)[node]
    if (made === undefined) throw new TypeError(`no plain node ${node}`)
    return tuned(await made.pod(name))
  }

  /** Two nodes with their ztunnels and a control plane. */
  async mesh(): Promise<SiteMesh> {
    this.#mesh ??= this.#makeMesh()
    return await this.#mesh
  }

  /** A captured pod. */
  async meshPod(name: string, node: 0 | 1): Promise<Place> {
    const { mesh } = await this.mesh()
    const made = await mesh.addPod(name, { node: MESH_NODES[node], serviceAccount: name })
    await mesh.captured(made)
    return tuned(made.pod)
  }

  meshNodeName(node: 0 | 1): string {
    return MESH_NODES[node]
  }

  /** Of the proxies that ambit is compared with. */
  certificates(): PeerCertificates {
    this.#certificates ??= writePeerCertificates(this.directory('certificates'), Date.now())
    return this.#certificates
  }

  /** Starts an application unless it runs in that place already. */
  async app(app: App, place: Place): Promise<void> {
    const key = `${app} ${place.name}`
    const starting = this.#apps.get(key) ?? startApp(app, place, this.directory('apps'))
    this.#apps.set(key, starting)
    await starting
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab.dispose()
  }

  async #makePlainNodes(): Promise<readonly LabNode[]> {
    const nodes: LabNode[] = []
    for (const name of PLAIN_NODES) nodes.push(tuned(await this.lab.node(name)))
    return nodes
  }

  async #makeMesh(): Promise<SiteMesh> {
    const directory = this.directory('mesh')
    const log = join(directory, 'log')
    // Lines go to a file, as they would on a node, and not through this process.
    const command = ['sh', '-c', 'log=$1; shift; exec "$@" 2>>"$log"', 'sh', log] as const
    const mesh = await LabMesh.start({
      // As many as the peers have: one thread a proxy.
      threads: 1,
      lab: this.lab,
      command: [...command, process.execPath, ambitMain()],
      nodes: MESH_NODES,
      directory,
    })
    for (const name of MESH_NODES) tuned(mesh.node(name))
    await mesh.apply('namespaces', [
      namespaceObject({ name: 'default', labels: { 'istio.io/dataplane-mode': 'ambient' } }),
    ])
    return { mesh, log }
  }
}

function tuned<P extends Place>(place: P): P {
  place.namespace.run(() => {
    for (const [name, value] of Object.entries(SYSCTLS))
      writeFileSync(`/proc/sys/net/${name}`, value)
  })
  return place
}

/** The `ambit` command of this same package: TypeScript beside sources, JavaScript beside what was built. */
function ambitMain(): string {
  return fileURLToPath(new URL(`../cli/main${extname(import.meta.url)}`, import.meta.url))
}
