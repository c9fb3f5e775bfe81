import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { AmbitError } from '../shared/runtime/errors.ts'
import { packageRoot } from '../shared/runtime/package-root.ts'

/** A pod that a Deployment of the sample asks for. */
export interface WantedPod {
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly program: 'http' | 'redis'
  readonly port: number
  /** Whether the sample wants it in the mesh. */
  readonly inMesh: boolean
}

const DeploymentSchema = z.object({
  kind: z.literal('Deployment'),
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z.object({
    replicas: z.int().min(0).max(9).default(1),
    template: z.object({
      metadata: z.object({ labels: z.record(z.string(), z.string()) }),
      spec: z.object({
        serviceAccountName: z.string().default('default'),
        containers: z
          .array(
            z.object({
              image: z.string(),
              ports: z.array(z.object({ containerPort: z.int() })).min(1),
            }),
          )
          .min(1),
      }),
    }),
  }),
})

/** The sample's objects, in the source tree and in the npm package alike. */
export const shopDirectory = (): string => join(packageRoot(), 'deploy', 'samples', 'shop')

/** The pods that a cluster would make of the Deployments in a directory; throws `DEMO_SAMPLE` naming a bad file. */
export async function readWantedPods(directory: string): Promise<readonly WantedPod[]> {
  const pods: WantedPod[] = []
  for (const file of (await readdir(directory)).filter((name) => name.endsWith('.yaml')).sort()) {
    const text = await readFile(join(directory, file), 'utf8')
    for (const [index, document] of parseAllDocuments(text).entries()) {
      const place = `${join(directory, file)}, document ${index + 1}`
      const problem = document.errors[0]
      if (problem !== undefined) throw new AmbitError('DEMO_SAMPLE', `${place}: ${problem.message}`)
      const object: unknown = document.toJS()
      if (kindOf(object) === 'Deployment') pods.push(...podsOf(object, place))
    }
  }
  return pods
}

function podsOf(object: unknown, place: string): readonly WantedPod[] {
  const parsed = DeploymentSchema.safeParse(object)
  if (!parsed.success) {
    throw new AmbitError('DEMO_SAMPLE', `${place}: ${z.prettifyError(parsed.error)}`)
  }
  const { metadata, spec } = parsed.data
  const { labels } = spec.template.metadata
  const container = spec.template.spec.containers[0]
  if (container === undefined) return []
  return Array.from({ length: spec.replicas }, (_, index) => ({
    name: spec.replicas === 1 ? metadata.name : `${metadata.name}-${index + 1}`,
    namespace: metadata.namespace,
    serviceAccount: spec.template.spec.serviceAccountName,
    labels,
    program: /(^|\/)redis(:|$)/.test(container.image) ? 'redis' : 'http',
    port: container.ports[0]?.containerPort ?? 8080,
    inMesh: labels['istio.io/dataplane-mode'] !== 'none',
  }))
}

const kindOf = (object: unknown): unknown =>
  typeof object === 'object' && object !== null && 'kind' in object ? object.kind : undefined
