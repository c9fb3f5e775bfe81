import type { Endpoint, LoadBalancing, Scope, Service, Workload } from '../../shared/mesh/model.ts'

export interface Selection {
  readonly workload: Workload
  /** Where the endpoint serves the port that was asked for. */
  readonly port: number
}

export interface SelectionInput {
  readonly source: Workload
  readonly service: Service
  /** The port of the service. */
  readonly port: number
  readonly endpoints: readonly Endpoint[]
  /** At least 0 and less than 1. */
  readonly random: () => number
}

/**
 * Picks an endpoint for one connection (ztunnel spec 2.3 and 2.4): of those that serve the port and can be reached,
 * those that the load balancing mode keeps, at random by their capacity. Undefined if there is none.
 */
export function selectEndpoint(input: SelectionInput): Selection | undefined {
  const { source, service, port, endpoints, random } = input
  if (!service.ports.has(port)) return undefined
  const level = requiredRank(input)
  const { loadBalancing } = service
  const weightOf = (endpoint: Endpoint): number =>
    isEligible(endpoint, input) && matchesLevel(source, endpoint.workload, loadBalancing, level)
      ? endpoint.workload.capacity
      : 0
  let total = 0
  for (const endpoint of endpoints) total += weightOf(endpoint)
  if (total === 0) return undefined
  let left = Math.floor(random() * total)
  for (const endpoint of endpoints) {
    left -= weightOf(endpoint)
    if (left >= 0) continue
    const targetPort = targetPortOf(endpoint, service, port)
    return targetPort === undefined ? undefined : { workload: endpoint.workload, port: targetPort }
  }
  return undefined
}

/**
 * The port to dial: the endpoint's own mapping, else the service's, else the service port itself if the application
 * behind a tunnel chooses (ztunnel spec 2.3). A mapping to 0 is none.
 */
export function targetPortOf(
  endpoint: Endpoint,
  service: Service,
  port: number,
): number | undefined {
  const mapped = endpoint.ports.get(port) || service.ports.get(port)
  if (mapped !== undefined && mapped > 0) return mapped
  return (endpoint.workload.applicationTunnel?.port ?? 0) > 0 ? port : undefined
}

/**
 * How many leading preferences an endpoint meets, in order, up to the first that it does not. NETWORK in the first
 * place counts for more than all others together, and not meeting it leaves the others to be counted.
 */
export function rankOf(source: Workload, to: Workload, preferences: readonly Scope[]): number {
  let rank = 0
  for (let index = 0; index < preferences.length; index++) {
    const scope = preferences[index]
    const first = index === 0 && scope === 'NETWORK'
    if (scope !== undefined && isSame(scope, source, to)) {
      rank += first ? preferences.length : 1
    } else if (!first) {
      break
    }
  }
  return rank
}

/** The rank that an endpoint must have in FAILOVER mode: the best there is. */
function requiredRank({ source, service, port, endpoints }: SelectionInput): number {
  const { mode, routingPreference } = service.loadBalancing
  if (mode !== 'FAILOVER') return 0
  let best = 0
  for (const endpoint of endpoints) {
    if (!isEligible(endpoint, { source, service, port })) continue
    best = Math.max(best, rankOf(source, endpoint.workload, routingPreference))
  }
  return best
}

function matchesLevel(
  source: Workload,
  to: Workload,
  { mode, routingPreference }: LoadBalancing,
  level: number,
): boolean {
  switch (mode) {
    case 'STANDARD':
    case 'PASSTHROUGH':
      return true
    case 'STRICT':
      for (const scope of routingPreference) if (!isSame(scope, source, to)) return false
      return true
    case 'FAILOVER':
      return rankOf(source, to, routingPreference) === level
  }
}

/** It serves the port, and there is some way to it: an address, a name, or a gateway of another network. */
function isEligible(
  endpoint: Endpoint,
  { source, service, port }: Pick<SelectionInput, 'source' | 'service' | 'port'>,
): boolean {
  const { workload } = endpoint
  if (targetPortOf(endpoint, service, port) === undefined) return false
  if (workload.addresses.length > 0 || workload.hostname !== '') return true
  return workload.network !== source.network && workload.networkGateway !== undefined
}

function isSame(scope: Scope, a: Workload, b: Workload): boolean {
  switch (scope) {
    case 'REGION':
      return a.locality.region === b.locality.region
    case 'ZONE':
      return a.locality.zone === b.locality.zone
    case 'SUBZONE':
      return a.locality.subzone === b.locality.subzone
    case 'NODE':
      return a.node === b.node
    case 'CLUSTER':
      return a.clusterId === b.clusterId
    case 'NETWORK':
      return a.network === b.network
  }
}
