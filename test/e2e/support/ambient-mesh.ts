import { join } from 'node:path'
import { Lab } from '../../../shared/lab/lab.ts'
import { LabMesh, type LabMeshOptions, type MeshPod } from '../../../shared/lab/mesh.ts'
import { namespaceObject } from '../../../shared/lab/objects.ts'
import type { Place } from '../../../shared/lab/place.ts'
import { packageRoot } from '../../../shared/runtime/package-root.ts'
import { ZTUNNEL_THREADS } from './threads.ts'

const NODES = ['node-1', 'node-2'] as const

/** Where the pods of an `AmbientMesh` run: one that calls, one on its node and one on the other. */
const PLACEMENT = { caller: 'node-1', near: 'node-1', far: 'node-2' } as const
export type PodName = keyof typeof PLACEMENT

export type AmbientMeshOptions = Partial<Omit<LabMeshOptions, 'lab' | 'nodes'>>

/** A mesh of two nodes with the captured pods `caller` and `near` on the first and `far` on the second. */
export class AmbientMesh implements AsyncDisposable {
  readonly lab: Lab
  readonly mesh: LabMesh
  readonly #pods: ReadonlyMap<PodName, MeshPod>

  private constructor(lab: Lab, mesh: LabMesh, pods: ReadonlyMap<PodName, MeshPod>) {
    this.lab = lab
    this.mesh = mesh
    this.#pods = pods
  }

  static async start(options: AmbientMeshOptions = {}): Promise<AmbientMesh> {
    const lab = await Lab.create()
    try {
      const mesh = await LabMesh.start({
        command: [process.execPath, join(packageRoot(), 'cli/main.ts')],
        threads: ZTUNNEL_THREADS,
        ...options,
        lab,
        directory: options.directory ?? lab.directory,
        nodes: NODES,
      })
      await mesh.apply('namespaces', [
        namespaceObject({ name: 'default', labels: { 'istio.io/dataplane-mode': 'ambient' } }),
      ])
      const pods = new Map<PodName, MeshPod>()
      for (const name of ['caller', 'near', 'far'] as const) {
        pods.set(name, await mesh.addPod(name, { node: PLACEMENT[name], serviceAccount: name }))
      }
      await mesh.captured(...pods.values())
      return new AmbientMesh(lab, mesh, pods)
    } catch (error) {
      await lab.dispose()
      throw error
    }
  }

  pod(name: PodName): Place {
    const made = this.#pods.get(name)
    if (made === undefined) throw new Error(`no pod ${name}`)
    return made.pod
  }

  /** The address of a pod in one family, as it stands in a URL. */
  host(name: PodName, family: 4 | 6): string {
    const { address4, address6 } = this.pod(name)
    return family === 4 ? address4 : `[${address6}]`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mesh[Symbol.asyncDispose]()
    await this.lab.dispose()
  }
}

/** Where a call goes, and by which family: each target pod by each of them. */
export const WAYS = [
  ['near', 4],
  ['near', 6],
  ['far', 4],
  ['far', 6],
] as const satisfies readonly (readonly [PodName, 4 | 6])[]
