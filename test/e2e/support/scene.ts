import { join } from 'node:path'
import { Lab } from '../../../shared/lab/lab.ts'
import {
  LabMesh,
  type LabMeshOptions,
  type MeshPod,
  type MeshPodOptions,
} from '../../../shared/lab/mesh.ts'
import { namespaceObject } from '../../../shared/lab/objects.ts'
import { packageRoot } from '../../../shared/runtime/package-root.ts'
import { ZTUNNEL_THREADS } from './threads.ts'

const MODE = 'istio.io/dataplane-mode'

export interface SceneOptions<Name extends string>
  extends Partial<Omit<LabMeshOptions, 'lab' | 'command' | 'directory'>> {
  /** Those whose pods are captured. */
  readonly ambient: readonly string[]
  readonly pods: Readonly<Record<Name, MeshPodOptions>>
}

/** A mesh with the pods that a test file needs, by name; those of ambient namespaces are captured. */
export class Scene<Name extends string> implements AsyncDisposable {
  readonly lab: Lab
  readonly mesh: LabMesh
  readonly #pods = new Map<string, MeshPod>()

  private constructor(lab: Lab, mesh: LabMesh) {
    this.lab = lab
    this.mesh = mesh
  }

  static async start<Name extends string>(options: SceneOptions<Name>): Promise<Scene<Name>> {
    const { ambient, pods, ...more } = options
    const lab = await Lab.create()
    try {
      const mesh = await LabMesh.start({
        nodes: ['node-1', 'node-2'],
        threads: ZTUNNEL_THREADS,
        ...more,
        lab,
        directory: lab.directory,
        command: [process.execPath, join(packageRoot(), 'cli/main.ts')],
      })
      const scene = new Scene<Name>(lab, mesh)
      await mesh.apply(
        'namespaces',
        ambient.map((name) => namespaceObject({ name, labels: { [MODE]: 'ambient' } })),
      )
      for (const [name, pod] of Object.entries<MeshPodOptions>(pods)) {
        scene.#pods.set(name, await mesh.addPod(name, pod))
      }
      await mesh.captured(
        ...[...scene.#pods.values()].filter(({ name, namespace }) => {
          const mode = pods[name as Name].labels?.[MODE]
          return mode === undefined ? ambient.includes(namespace) : mode === 'ambient'
        }),
      )
      return scene
    } catch (error) {
      await lab.dispose()
      throw error
    }
  }

  pod(name: Name): MeshPod['pod'] {
    return this.meshPod(name).pod
  }

  meshPod(name: Name): MeshPod {
    const made = this.#pods.get(name)
    if (made === undefined) throw new Error(`no pod ${name}`)
    return made
  }

  /** In one family, as it stands in a URL. */
  host(name: Name, family: 4 | 6): string {
    const { address4, address6 } = this.pod(name)
    return family === 4 ? address4 : `[${address6}]`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mesh[Symbol.asyncDispose]()
    await this.lab.dispose()
  }
}
