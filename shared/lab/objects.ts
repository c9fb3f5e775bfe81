import { createHash } from 'node:crypto'
import { stringify } from 'yaml'

/**
 * The Kubernetes objects that a cluster adds to what people write: nodes, pods with their status, endpoints. Pure:
 * the same input gives the same object, its uid included.
 */

/** A plain object, as YAML or JSON would give it. */
export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly [field: string]: unknown
}

type Labels = Readonly<Record<string, string>>

export interface ObjectPort {
  readonly name?: string
  readonly port: number
  readonly protocol?: 'TCP' | 'UDP'
}

export interface NamespaceOptions {
  readonly name: string
  readonly labels?: Labels
}

export function namespaceObject({ name, labels = {} }: NamespaceOptions): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      uid: uidOf('Namespace', '', name),
      labels: { 'kubernetes.io/metadata.name': name, ...labels },
    },
  }
}

export interface NodeOptions {
  readonly name: string
  readonly addresses?: readonly string[]
  readonly podSubnets?: readonly string[]
  readonly region?: string
  readonly zone?: string
  readonly labels?: Labels
}

export function nodeObject(options: NodeOptions): KubernetesObject {
  const { name, addresses = [], podSubnets = [], region, zone, labels = {} } = options
  const internal = addresses.map((address) => ({ type: 'InternalIP', address }))
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      uid: uidOf('Node', '', name),
      labels: {
        'kubernetes.io/hostname': name,
        ...(region === undefined ? {} : { 'topology.kubernetes.io/region': region }),
        ...(zone === undefined ? {} : { 'topology.kubernetes.io/zone': zone }),
        ...labels,
      },
    },
    spec: podSubnets.length === 0 ? {} : { podCIDR: podSubnets[0], podCIDRs: podSubnets },
    status: { addresses: [...internal, { type: 'Hostname', address: name }] },
  }
}

export interface ServiceAccountOptions {
  readonly name: string
  readonly namespace: string
}

export function serviceAccountObject(options: ServiceAccountOptions): KubernetesObject {
  const { name, namespace } = options
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace, uid: uidOf('ServiceAccount', namespace, name) },
  }
}

export interface PodObjectOptions {
  readonly name: string
  readonly namespace: string
  readonly node: string
  readonly addresses: readonly string[]
  /** Default `default`, as in a cluster. */
  readonly serviceAccount?: string
  readonly labels?: Labels
  readonly annotations?: Labels
  readonly ports?: readonly ObjectPort[]
  /** Default true for a running pod. */
  readonly ready?: boolean
  readonly phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed'
  readonly hostNetwork?: boolean
  /** Default one that belongs to namespace and name; a pod that is made anew has another in a cluster. */
  readonly uid?: string
}

export function podObject(options: PodObjectOptions): KubernetesObject {
  const { name, namespace, addresses, labels = {}, annotations, ports = [] } = options
  const { phase = 'Running', ready = phase === 'Running', hostNetwork = false } = options
  const [podIP] = addresses
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid: options.uid ?? uidOf('Pod', namespace, name),
      labels,
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec: {
      nodeName: options.node,
      serviceAccountName: options.serviceAccount ?? 'default',
      ...(hostNetwork ? { hostNetwork } : {}),
      containers: [{ name: 'app', image: 'app', ports: ports.map(containerPort) }],
    },
    status: {
      phase,
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      ...(podIP === undefined ? {} : { podIP, podIPs: addresses.map((ip) => ({ ip })) }),
    },
  }
}

export interface ServiceOptions {
  readonly name: string
  readonly namespace: string
  readonly selector?: Labels
  readonly ports: readonly (ObjectPort & { readonly targetPort?: number | string })[]
  /** Left out, the control plane gives it some; `['None']` makes it headless. */
  readonly clusterIPs?: readonly string[]
  readonly labels?: Labels
  readonly annotations?: Labels
}

export function serviceObject(options: ServiceOptions): KubernetesObject {
  const { name, namespace, selector, ports, clusterIPs, labels, annotations } = options
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      namespace,
      uid: uidOf('Service', namespace, name),
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec: {
      ...(selector === undefined ? {} : { selector }),
      ...(clusterIPs === undefined ? {} : { clusterIP: clusterIPs[0], clusterIPs }),
      ports: ports.map(({ name: portName, port, protocol = 'TCP', targetPort = port }) => ({
        ...(portName === undefined ? {} : { name: portName }),
        port,
        protocol,
        targetPort,
      })),
    },
  }
}

export interface EndpointSliceOptions {
  readonly service: string
  readonly namespace: string
  readonly addressType: 'IPv4' | 'IPv6'
  readonly ports: readonly ObjectPort[]
  readonly endpoints: readonly {
    readonly address: string
    readonly ready?: boolean
    readonly pod?: string
    readonly node?: string
  }[]
}

export function endpointSliceObject(options: EndpointSliceOptions): KubernetesObject {
  const { service, namespace, addressType, ports, endpoints } = options
  const name = `${service}-${addressType.toLowerCase()}`
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name,
      namespace,
      uid: uidOf('EndpointSlice', namespace, name),
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType,
    ports: ports.map(({ name: portName = '', port, protocol = 'TCP' }) => ({
      name: portName,
      port,
      protocol,
    })),
    endpoints: endpoints.map(({ address, ready = true, pod, node }) => ({
      addresses: [address],
      conditions: { ready, serving: ready, terminating: false },
      ...(node === undefined ? {} : { nodeName: node }),
      ...(pod === undefined ? {} : { targetRef: { kind: 'Pod', name: pod, namespace } }),
    })),
  }
}

/** One YAML document per object. */
export function toYaml(objects: readonly object[]): string {
  return objects.map((object) => stringify(object, { aliasDuplicateObjects: false })).join('---\n')
}

const containerPort = ({ name, port, protocol = 'TCP' }: ObjectPort) => ({
  ...(name === undefined ? {} : { name }),
  containerPort: port,
  protocol,
})

/** Looks like a UUID and is a function of the object's name. */
function uidOf(kind: string, namespace: string, name: string): string {
  const hex = createHash('sha256').update(`${kind}/${namespace}/${name}`).digest('hex')
  const part = (from: number, to: number): string => hex.slice(from, to)
  return `${part(0, 8)}-${part(8, 12)}-8${part(13, 16)}-a${part(17, 20)}-${part(20, 32)}`
}
