/**
 * What the mesh knows, as values: the types that the store keeps and both tiers ask for. Made from the workload API
 * by `convert.ts`, which refuses what this model cannot say.
 */

export interface Workload {
  /** The resource name, unique in the mesh. */
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly trustDomain: string
  /** Canonical text (RFC 5952), no IPv4-mapped forms. */
  readonly addresses: readonly string[]
  /** A workload without addresses that is reached by DNS name; empty if none. */
  readonly hostname: string
  readonly network: string
  readonly networkGateway: GatewayAddress | undefined
  readonly networkMode: 'STANDARD' | 'HOST_NETWORK'
  readonly node: string
  readonly clusterId: string
  readonly tunnelProtocol: 'NONE' | 'HBONE'
  /** The application speaks HBONE itself; nobody terminates for it. */
  readonly nativeTunnel: boolean
  readonly applicationTunnel: ApplicationTunnel | undefined
  readonly waypoint: GatewayAddress | undefined
  readonly status: 'HEALTHY' | 'UNHEALTHY'
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly workloadType: 'deployment' | 'cronjob' | 'pod' | 'job'
  readonly workloadName: string
  readonly locality: Locality
  /** Membership by service key, with this endpoint's own port mapping. */
  readonly services: ReadonlyMap<ServiceKey, PortMap>
  /** Names (`namespace/name`) of selector-scoped policies. */
  readonly authorizationPolicies: readonly string[]
  /** Weight among endpoints; 1 unless set. */
  readonly capacity: number
}

/** `namespace/hostname`. */
export type ServiceKey = string

/** Service port to target port. A target of 0 is unknown here. */
export type PortMap = ReadonlyMap<number, number>

export interface Service {
  readonly key: ServiceKey
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  readonly addresses: readonly ServiceAddress[]
  readonly ports: PortMap
  readonly subjectAltNames: readonly string[]
  readonly waypoint: GatewayAddress | undefined
  readonly weightedWaypoints: readonly {
    readonly destination: GatewayAddress
    readonly weight: number
  }[]
  readonly loadBalancing: LoadBalancing
  readonly ipFamilies: 'AUTOMATIC' | 'IPV4_ONLY' | 'IPV6_ONLY' | 'DUAL'
  readonly canonical: boolean
  readonly visibility: 'PUBLIC' | 'NAMESPACE'
}

export interface ServiceAddress {
  readonly network: string
  readonly address: string
  /** Prefix length when the address stands for a range. */
  readonly length: number | undefined
}

export interface LoadBalancing {
  readonly mode: 'STANDARD' | 'STRICT' | 'FAILOVER' | 'PASSTHROUGH'
  readonly routingPreference: readonly Scope[]
  readonly healthPolicy: 'ONLY_HEALTHY' | 'ALLOW_ALL'
}

export type Scope = 'REGION' | 'ZONE' | 'SUBZONE' | 'NODE' | 'CLUSTER' | 'NETWORK'

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

export interface ApplicationTunnel {
  readonly protocol: 'NONE' | 'PROXY'
  /** 0 if the port is that of the request. */
  readonly port: number
}

export type GatewayAddress = { readonly hboneMtlsPort: number } & (
  | { readonly kind: 'hostname'; readonly namespace: string; readonly hostname: string }
  | { readonly kind: 'address'; readonly network: string; readonly address: string }
)

/** A workload that serves a service, and the port mapping to use for it. */
export interface Endpoint {
  readonly workload: Workload
  readonly ports: PortMap
}

/** The SPIFFE identity of a workload. */
export const identityOf = (
  workload: Pick<Workload, 'trustDomain' | 'namespace' | 'serviceAccount'>,
): string =>
  `spiffe://${workload.trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}`
