import type { Port, PortList } from '../../shared/proto/generated/workload.ts'
import type { Pod } from '../kinds/pod.ts'
import type { Service } from '../kinds/service.ts'
import type { ServiceEntry } from '../kinds/service-entry.ts'
import type { HostClaim } from './hosts.ts'
import { IP_FAMILIES, type IpFamily } from './vips.ts'

/** A service as its workloads see it. */
export interface ServiceView {
  readonly kind: 'Service' | 'ServiceEntry'
  readonly namespace: string
  readonly hostname: string
  readonly ports: readonly ViewPort[]
}

interface ViewPort {
  readonly name: string
  readonly number: number
  /** A number on the workload, or the name of a port of it. */
  readonly target: number | string
}

export const hostnameOf = ({ metadata }: Service, domain: string): string =>
  `${metadata.name}.${metadata.namespace}.svc.${domain}`

/** One for a Service, one a host for a ServiceEntry; none for what is only an alias. */
export function viewsOf(object: Service | ServiceEntry, domain: string): readonly ServiceView[] {
  const { namespace } = object.metadata
  if (object.kind === 'ServiceEntry') {
    const ports = object.spec.ports.map(({ name, number, targetPort }) => ({
      name,
      number,
      target: targetPort || number,
    }))
    return object.spec.hosts.map((hostname) => ({ kind: object.kind, namespace, hostname, ports }))
  }
  if (object.spec.type === 'ExternalName') return []
  const ports = object.spec.ports.map(({ name, port, targetPort }) => ({
    name: name ?? '',
    number: port,
    target: targetPort || port,
  }))
  return [{ kind: object.kind, namespace, hostname: hostnameOf(object, domain), ports }]
}

/** The labels that select the service's workloads; undefined if it does not select any. */
export function memberSelectorOf(
  object: Service | ServiceEntry,
): Readonly<Record<string, string>> | undefined {
  if (object.kind === 'Service' && object.spec.type === 'ExternalName') return undefined
  const selector =
    object.kind === 'Service' ? object.spec.selector : object.spec.workloadSelector?.labels
  return selector !== undefined && Object.keys(selector).length > 0 ? selector : undefined
}

export function claimsOf(
  unit: string,
  object: Service | ServiceEntry,
  domain: string,
): readonly HostClaim[] {
  const { namespace, name, creationTimestamp } = object.metadata
  return viewsOf(object, domain).map(({ kind, hostname }) => ({
    unit,
    kind,
    namespace,
    name,
    creationTimestamp,
    hostname,
    vipFamilies: object.kind === 'Service' ? serviceVips(object) : entryVips(object, hostname),
  }))
}

/** Addresses that the object names itself. */
export function ownAddressesOf(object: Service | ServiceEntry): readonly string[] {
  if (object.kind === 'Service') return clusterIpsOf(object)
  const allocated = object.status?.addresses.map(({ value }) => value) ?? []
  return [...object.spec.addresses.filter((address) => !address.includes('/')), ...allocated]
}

/** Without the marks `None` and empty. */
export function clusterIpsOf({ spec }: Service): readonly string[] {
  const all = spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP ?? '']
  return all.filter((address) => address !== 'None' && address !== '')
}

/** The addresses that a cluster's allocator gave to one host; none if the entry names its own. */
export function allocatedAddressesOf({ spec, status }: ServiceEntry, hostname: string): string[] {
  if (spec.addresses.length > 0 || !takesVip(spec, hostname)) return []
  const all = status?.addresses ?? []
  return all.filter(({ host }) => host === hostname).map(({ value }) => value)
}

/** How a pod serves a service: a port whose name the pod does not have is left out (spec 1.4). */
export function podPorts(view: ServiceView, pod: Pod): PortList {
  return portList(view, ({ target }) =>
    typeof target === 'number' ? target : containerPort(pod, target),
  )
}

/** The same for an endpoint outside the cluster: its ports by name (spec 1.4 and 1.7). */
export function entryPorts(view: ServiceView, ports: Readonly<Record<string, number>>): PortList {
  const named = (name: string): number | undefined =>
    Object.hasOwn(ports, name) ? ports[name] : undefined
  return portList(view, ({ name, target }) => {
    if (typeof target === 'string') return named(target)
    return view.kind === 'ServiceEntry' ? (named(name) ?? target) : target
  })
}

/** The ports of a service for which `targetOf` knows a number. */
export function portList(
  view: ServiceView,
  targetOf: (port: ViewPort) => number | undefined,
): PortList {
  const ports: Port[] = []
  for (const port of view.ports) {
    const targetPort = targetOf(port)
    if (targetPort !== undefined) {
      ports.push({ servicePort: port.number, targetPort, appProtocol: 0 })
    }
  }
  return { ports }
}

function containerPort({ spec }: Pod, name: string): number | undefined {
  const sidecars = spec.initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')
  for (const { ports } of [...spec.containers, ...sidecars]) {
    for (const port of ports) {
      if (port.name === name && port.protocol === 'TCP') return port.containerPort
    }
  }
  return undefined
}

function serviceVips({ spec }: Service): readonly IpFamily[] {
  const declared = spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP ?? '']
  if (declared.some((address) => address !== '')) return []
  return spec.ipFamilies.length > 0 ? spec.ipFamilies : IP_FAMILIES
}

const AUTO_ALLOCATE = 'networking.istio.io/enable-autoallocate-ip'

function entryVips(object: ServiceEntry, hostname: string): readonly IpFamily[] {
  const { spec, metadata } = object
  if (spec.addresses.length > 0 || !takesVip(spec, hostname)) return []
  if (metadata.labels[AUTO_ALLOCATE]?.toLowerCase() === 'false') return []
  return allocatedAddressesOf(object, hostname).length > 0 ? [] : IP_FAMILIES
}

function takesVip({ resolution }: ServiceEntry['spec'], hostname: string): boolean {
  if (resolution === 'NONE') return false
  return !hostname.startsWith('*') || resolution === 'DYNAMIC_DNS'
}
