import type { Cidr, Match, Policy, StringMatch } from '../authz/model.ts'
import { formatIpAddress } from '../runtime/ip-address.ts'
import type { Endpoint, GatewayAddress, PortMap, Service, ServiceKey, Workload } from './model.ts'

type Json = Readonly<Record<string, unknown>>

/** The mesh as JSON, with the keys that `istioctl ztunnel-config` reads (controlplane spec 9.1). */
export interface MeshDump {
  readonly workloads: readonly Json[]
  readonly services: readonly Json[]
  readonly policies: readonly Json[]
  /** Endpoints by the key of a service that has not arrived. */
  readonly stagedServices: Json
}

export interface MeshContent {
  readonly workloads: ReadonlyMap<string, Workload>
  readonly services: ReadonlyMap<ServiceKey, Service>
  readonly policies: ReadonlyMap<string, Policy>
  readonly memberships: ReadonlyMap<ServiceKey, ReadonlyMap<string, Endpoint>>
}

export function toMeshDump(content: MeshContent): MeshDump {
  const staged = [...content.memberships].filter(([key]) => !content.services.has(key))
  return {
    workloads: inOrder(content.workloads).map(dumpWorkload),
    services: inOrder(content.services).map((service) =>
      dumpService(service, dumpEndpoints(service.key, content.memberships.get(service.key))),
    ),
    policies: inOrder(content.policies).map(dumpPolicy),
    stagedServices: Object.fromEntries(
      staged.map(([key, members]) => [key, dumpEndpoints(key, members)]),
    ),
  }
}

const inOrder = <T>(by: ReadonlyMap<string, T>): T[] =>
  [...by].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)

function dumpWorkload(workload: Workload): Json {
  const { applicationTunnel, waypoint, networkGateway } = workload
  return {
    uid: workload.uid,
    workloadIps: workload.addresses,
    hostname: workload.hostname,
    protocol: workload.tunnelProtocol === 'HBONE' ? 'HBONE' : 'TCP',
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    network: workload.network,
    networkMode: camel(workload.networkMode),
    workloadName: workload.workloadName,
    workloadType: workload.workloadType,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    clusterId: workload.clusterId,
    node: workload.node,
    nativeTunnel: workload.nativeTunnel,
    status: camel(workload.status),
    locality: workload.locality,
    services: [...workload.services.keys()],
    authorizationPolicies: workload.authorizationPolicies,
    capacity: workload.capacity,
    ...(waypoint && { waypoint: dumpGateway(waypoint) }),
    ...(networkGateway && { networkGateway: dumpGateway(networkGateway) }),
    ...(applicationTunnel && {
      applicationTunnel: {
        protocol: applicationTunnel.protocol,
        ...(applicationTunnel.port > 0 && { port: applicationTunnel.port }),
      },
    }),
  }
}

function dumpService(service: Service, endpoints: Json): Json {
  const { addresses, waypoint, loadBalancing } = service
  const ranges = addresses.flatMap(({ network, address, length }) =>
    length === undefined ? [] : [{ cidr: `${address}/${length}`, network }],
  )
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: addresses
      .filter(({ length }) => length === undefined)
      .map(({ network, address }) => `${network}/${address}`),
    ...(ranges.length > 0 && { cidrVips: ranges }),
    ports: dumpPorts(service.ports),
    endpoints,
    subjectAltNames: service.subjectAltNames,
    ...(waypoint && { waypoint: dumpGateway(waypoint) }),
    ...(service.weightedWaypoints.length > 0 && {
      weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
        destination: dumpGateway(destination),
        weight,
      })),
    }),
    loadBalancer: {
      mode: camel(loadBalancing.mode),
      routingPreferences: loadBalancing.routingPreference.map(camel),
      healthPolicy: camel(loadBalancing.healthPolicy),
    },
    ...(service.ipFamilies !== 'AUTOMATIC' && { ipFamilies: FAMILIES[service.ipFamilies] }),
    canonical: service.canonical,
    visibility: camel(service.visibility),
  }
}

const FAMILIES = { IPV4_ONLY: 'IPv4', IPV6_ONLY: 'IPv6', DUAL: 'Dual' } as const

function dumpEndpoints(
  service: ServiceKey,
  members: ReadonlyMap<string, Endpoint> | undefined,
): Json {
  const entries = [...(members ?? [])].map(([uid, { workload, ports }]) => [
    uid,
    { workloadUid: uid, service, port: dumpPorts(ports), status: camel(workload.status) },
  ])
  return Object.fromEntries(entries) as Json
}

const dumpPorts = (ports: PortMap): Json => Object.fromEntries(ports)

function dumpGateway(gateway: GatewayAddress): Json {
  const destination =
    gateway.kind === 'hostname'
      ? `${gateway.namespace}/${gateway.hostname}`
      : `${gateway.network}/${gateway.address}`
  return { destination, hboneMtlsPort: gateway.hboneMtlsPort }
}

function dumpPolicy(policy: Policy): Json {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: camel(policy.scope),
    action: camel(policy.action),
    rules: policy.rules.map((rule) => rule.map((clause) => clause.map(dumpMatch))),
    ...(policy.dryRun && { dryRun: true }),
  }
}

function dumpMatch(match: Match): Json {
  const fields: [string, readonly unknown[]][] = [
    ['namespaces', match.namespaces.map(dumpStringMatch)],
    ['notNamespaces', match.notNamespaces.map(dumpStringMatch)],
    ['principals', match.principals.map(dumpStringMatch)],
    ['notPrincipals', match.notPrincipals.map(dumpStringMatch)],
    ['serviceAccounts', match.serviceAccounts],
    ['notServiceAccounts', match.notServiceAccounts],
    ['sourceIps', match.sourceIps.map(dumpCidr)],
    ['notSourceIps', match.notSourceIps.map(dumpCidr)],
    ['destinationIps', match.destinationIps.map(dumpCidr)],
    ['notDestinationIps', match.notDestinationIps.map(dumpCidr)],
    ['destinationPorts', match.destinationPorts],
    ['notDestinationPorts', match.notDestinationPorts],
  ]
  return Object.fromEntries(fields.filter(([, values]) => values.length > 0))
}

const dumpStringMatch = (match: StringMatch): Json =>
  match.kind === 'presence' ? { presence: {} } : { [match.kind]: match.value }

const dumpCidr = (cidr: Cidr): string => `${formatIpAddress(cidr.address) ?? '?'}/${cidr.length}`

/** `ONLY_HEALTHY` as `OnlyHealthy`. */
const camel = (name: string): string =>
  name
    .split('_')
    .map((word) => word.slice(0, 1) + word.slice(1).toLowerCase())
    .join('')
