import type { LabMesh } from '../../../shared/lab/mesh.ts'
import { serviceObject, toYaml } from '../../../shared/lab/objects.ts'

const FILE = 'case'
let number = 0

/**
 * Puts these objects in the place of those of the case before, and waits until the ztunnel of a node goes by them.
 * New policies come to a ztunnel before or with services, so a service in the same file shows that they are in force;
 * what is removed goes after that.
 */
export async function applyCase(
  mesh: LabMesh,
  node: string,
  objects: string | readonly object[],
): Promise<void> {
  number++
  const marker = `marker-${number}`
  const service = serviceObject({ name: marker, namespace: 'default', ports: [{ port: 1 }] })
  const text = typeof objects === 'string' ? objects : toYaml(objects)
  await mesh.apply(FILE, `${text}\n---\n${toYaml([service])}`)
  await mesh.eventually(`${node} goes by ${marker}`, async () => {
    const known: unknown = JSON.parse(await mesh.get(mesh.node(node), 15_000, '/config_dump'))
    if (!listOf(known, 'services').some((one) => textOf(one, 'name') === marker)) return false
    const served: unknown = JSON.parse(await mesh.get(mesh.control, 15_014, '/debug/config_dump'))
    const wanted = listOf(served, 'policies').map((one) => textOf(one, 'name'))
    const present = listOf(known, 'policies').map(
      (one) => `${textOf(one, 'namespace')}/${textOf(one, 'name')}`,
    )
    return wanted.toSorted().join() === present.toSorted().join()
  })
}

function listOf(dump: unknown, field: string): readonly object[] {
  const list: unknown = typeof dump === 'object' && dump !== null ? Reflect.get(dump, field) : []
  return Array.isArray(list) ? list.filter((one) => typeof one === 'object' && one !== null) : []
}

const textOf = (one: object, field: string): string => String(Reflect.get(one, field))
