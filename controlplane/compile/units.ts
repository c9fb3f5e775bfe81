import type { Authorization } from '../../shared/proto/generated/authorization.ts'
import type { PortList } from '../../shared/proto/generated/workload.ts'
import type { PeerAuthentication } from '../kinds/peer-authentication.ts'
import type { Pod } from '../kinds/pod.ts'
import { keyOf, type MeshObject, refOf } from '../kinds/registry.ts'
import type { Service } from '../kinds/service.ts'
import type { ServiceEntry } from '../kinds/service-entry.ts'
import type { WorkloadEntry } from '../kinds/workload-entry.ts'
import { convertPolicy } from './authorization.ts'
import { STATIC_UNIT } from './dependents.ts'
import { authorizationResource, serviceResource, workloadResource } from './encode.ts'
import { sliceWorkloads } from './endpoint-slice.ts'
import type { HostTable } from './hosts.ts'
import type { MeshContext } from './mesh-options.ts'
import { isWorkloadLevel, portLevelAuthorization, staticStrict } from './peer-authentication.ts'
import type { Remark } from './remark.ts'
import type { Resource } from './resource.ts'
import { kubernetesService } from './service.ts'
import { endpointWorkloads, externalService } from './service-entry.ts'
import { claimsOf, entryPorts, podPorts, type ServiceView, viewsOf } from './service-view.ts'
import { IP_FAMILIES, type VipAllocator } from './vips.ts'
import { podUid, podWorkload } from './workload.ts'
import { entryLabels, entryWorkload } from './workload-entry.ts'
import type { World } from './world.ts'

/** Everything that the resources of a unit depend on. */
export interface UnitInputs {
  readonly mesh: MeshContext
  readonly world: World
  readonly hosts: HostTable
  readonly vips: VipAllocator
  readonly captured: ReadonlySet<string>
}

export interface UnitOutput {
  readonly resources: readonly Resource[]
  readonly remarks: readonly Remark[]
}

const NOTHING: UnitOutput = { resources: [], remarks: [] }

/** Compiles one unit from the state of the world; nothing is left of an object that is gone. */
export function compileUnit(inputs: UnitInputs, unit: string): UnitOutput {
  if (unit === STATIC_UNIT) {
    const { world } = inputs
    return world.hasPeerPolicies() ? authorizations(staticStrict(world.rootNamespace)) : NOTHING
  }
  const object = inputs.world.object(unit)
  return object === undefined ? NOTHING : compileObject(inputs, object)
}

function compileObject(inputs: UnitInputs, object: MeshObject): UnitOutput {
  switch (object.kind) {
    case 'Pod':
      return compilePod(inputs, object)
    case 'WorkloadEntry':
      return compileEntry(inputs, object)
    case 'Service':
      return compileService(inputs, object)
    case 'ServiceEntry':
      return compileServiceEntry(inputs, object)
    case 'EndpointSlice': {
      const service = inputs.world.serviceOfSlice(object)
      const view = service === undefined ? undefined : viewsOf(service, inputs.mesh.domain)[0]
      if (view === undefined) return NOTHING
      const workloads = sliceWorkloads(inputs.mesh, object, view)
      return { resources: workloads.map(workloadResource), remarks: [] }
    }
    case 'AuthorizationPolicy': {
      const { authorization, remarks } = convertPolicy(object, inputs.world.rootNamespace)
      const resources = authorization === undefined ? [] : [authorizationResource(authorization)]
      return { resources, remarks }
    }
    case 'PeerAuthentication':
      return compilePeerAuthentication(inputs, object)
    case 'Namespace':
    case 'Node':
    case 'ServiceAccount':
      return NOTHING
  }
}

function compilePod({ mesh, world, hosts, captured }: UnitInputs, pod: Pod): UnitOutput {
  const { namespace, labels } = pod.metadata
  const workload = podWorkload(mesh, {
    pod,
    node: world.find('Node', '', pod.spec.nodeName ?? ''),
    captured: captured.has(podUid(mesh, pod)),
    services: portsByService(
      wonViews(hosts, mesh, world.servicesOf(namespace, labels, pod)),
      (view) => podPorts(view, pod),
    ),
    policies: world.policiesOf(namespace, labels),
  })
  return workload === undefined ? NOTHING : { resources: [workloadResource(workload)], remarks: [] }
}

function compileEntry({ mesh, world, hosts }: UnitInputs, entry: WorkloadEntry): UnitOutput {
  const { namespace } = entry.metadata
  const labels = entryLabels(entry)
  const views = wonViews(hosts, mesh, world.servicesOf(namespace, labels))
  const workload = entryWorkload(mesh, entry, {
    services: portsByService(views, (view) => entryPorts(view, entry.spec.ports)),
    policies: world.policiesOf(namespace, labels),
  })
  return workload === undefined ? NOTHING : { resources: [workloadResource(workload)], remarks: [] }
}

function compileService(inputs: UnitInputs, object: Service): UnitOutput {
  const { mesh, world } = inputs
  const namespace = world.find('Namespace', '', object.metadata.namespace)
  const service = kubernetesService(mesh, object, namespace, vipsIn(inputs))
  if (service === undefined) return NOTHING
  return { resources: [serviceResource(service)], remarks: vipRemarks(inputs, object) }
}

function compileServiceEntry(inputs: UnitInputs, entry: ServiceEntry): UnitOutput {
  const { mesh, world, hosts } = inputs
  const unit = keyOf(refOf(entry))
  const views = wonViews(hosts, mesh, [entry])
  const services = views.map(({ hostname }) => {
    const canonical = hosts.canonical(hostname)?.unit === unit
    return serviceResource(externalService(mesh, entry, { hostname, canonical }, vipsIn(inputs)))
  })
  const policies = world.policiesOf(entry.metadata.namespace, entry.metadata.labels)
  const workloads = endpointWorkloads(mesh, entry, views, policies).map(workloadResource)
  const lost = entry.spec.hosts.filter((host) => !views.some((view) => view.hostname === host))
  const message = `another object of the namespace is the service of ${lost.join(', ')}`
  const conflict: Remark[] = lost.length === 0 ? [] : [{ reason: 'NoEffect', message }]
  const remarks = [...conflict, ...vipRemarks(inputs, entry)]
  return { resources: [...services, ...workloads], remarks }
}

function compilePeerAuthentication({ world }: UnitInputs, policy: PeerAuthentication): UnitOutput {
  if (!isWorkloadLevel(policy)) return NOTHING
  const { namespace } = policy.metadata
  if (namespace === world.rootNamespace) {
    const message = 'a selector in the root namespace is not supported; the policy is ignored'
    return { resources: [], remarks: [{ reason: 'NoEffect', message }] }
  }
  const strictness = world.strictness(namespace, policy)
  if (strictness.kind !== 'ports') return NOTHING
  return authorizations(portLevelAuthorization(policy, strictness.groups))
}

const authorizations = (authorization: Authorization): UnitOutput => ({
  resources: [authorizationResource(authorization)],
  remarks: [],
})

/** Of the services that these objects describe, those that no other object describes with more right. */
function wonViews(
  hosts: HostTable,
  mesh: MeshContext,
  objects: readonly (Service | ServiceEntry)[],
): ServiceView[] {
  return objects.flatMap((object) => {
    const unit = keyOf(refOf(object))
    return viewsOf(object, mesh.domain).filter(
      ({ namespace, hostname }) => hosts.winner(namespace, hostname)?.unit === unit,
    )
  })
}

function portsByService(
  views: readonly ServiceView[],
  portsOf: (view: ServiceView) => PortList,
): Record<string, PortList> {
  return Object.fromEntries(
    views.map((view) => [`${view.namespace}/${view.hostname}`, portsOf(view)]),
  )
}

const vipsIn =
  ({ vips }: UnitInputs) =>
  (namespace: string, hostname: string): string[] =>
    IP_FAMILIES.flatMap((family) => vips.find(`${namespace}/${hostname}`, family) ?? [])

function vipRemarks({ vips, mesh, hosts }: UnitInputs, object: Service | ServiceEntry): Remark[] {
  const unit = keyOf(refOf(object))
  return claimsOf(unit, object, mesh.domain).flatMap(({ namespace, hostname, vipFamilies }) => {
    if (hosts.winner(namespace, hostname)?.unit !== unit) return []
    const missing = vipFamilies.filter((family) => !vips.find(`${namespace}/${hostname}`, family))
    if (missing.length === 0) return []
    const message = `the range of addresses for services is full (${missing.join(', ')}, ${hostname})`
    return [{ reason: 'NoAddress' as const, message }]
  })
}
