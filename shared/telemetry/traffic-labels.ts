import type { ConnectionRecord, Party } from './connection-record.ts'
import { type Labels, labelValue } from './metrics.ts'

export type Reporter = 'source' | 'destination'

/** The ztunnel that sees a connection leave speaks for the source, the other one for the destination. */
export const reporterOf = (direction: ConnectionRecord['direction']): Reporter =>
  direction === 'outbound' ? 'source' : 'destination'

/** The labels of Istio's TCP metrics, in their order; the locality labels come last, or not at all. */
export const TRAFFIC_LABELS = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
  'request_protocol',
  'response_flags',
  'connection_security_policy',
  'source_region',
  'source_zone',
  'destination_region',
  'destination_zone',
] as const

export type TrafficLabel = (typeof TRAFFIC_LABELS)[number]

/** The label set of a connection that has not failed: `response_flags` is `-`. */
export function trafficLabelsOf(record: ConnectionRecord): Partial<Labels<TrafficLabel>> {
  const { source, destination, service } = record
  const from = namesOf(source)
  const to = namesOf(destination)
  const labels = {
    reporter: reporterOf(record.direction),
    source_workload: from.workload,
    source_canonical_service: from.service,
    source_canonical_revision: from.revision,
    source_workload_namespace: from.namespace,
    source_principal: labelValue(principalOf(record, source)),
    source_app: from.service,
    source_version: from.revision,
    source_cluster: from.cluster,
    destination_service: labelValue(service?.hostname),
    destination_service_namespace: labelValue(service?.namespace),
    destination_service_name: labelValue(service?.name),
    destination_workload: to.workload,
    destination_canonical_service: to.service,
    destination_canonical_revision: to.revision,
    destination_workload_namespace: to.namespace,
    destination_principal: labelValue(principalOf(record, destination)),
    destination_app: to.service,
    destination_version: to.revision,
    destination_cluster: to.cluster,
    request_protocol: 'tcp',
    response_flags: '-',
    connection_security_policy: record.mutualTls ? 'mutual_tls' : 'unknown',
  }
  if (source.workload === undefined && destination.workload === undefined) return labels
  return {
    ...labels,
    source_region: from.region,
    source_zone: from.zone,
    destination_region: to.region,
    destination_zone: to.zone,
  }
}

/** `app` and `version` are the canonical names once more, as they are for a workload that xDS knows. */
const namesOf = ({ workload }: Party) => ({
  workload: labelValue(workload?.workloadName),
  service: labelValue(workload?.canonicalName),
  revision: labelValue(workload?.canonicalRevision),
  namespace: labelValue(workload?.namespace),
  cluster: labelValue(workload?.clusterId),
  region: labelValue(workload?.locality.region),
  zone: labelValue(workload?.locality.zone),
})

/** What traffic is counted on when the table has no room: only who reports is known. */
export function overflowLabelsOf(reporter: Reporter): Partial<Labels<TrafficLabel>> {
  const unknown = trafficLabelsOf({
    direction: reporter === 'source' ? 'outbound' : 'inbound',
    source: { workload: undefined, identity: undefined },
    destination: { workload: undefined, identity: undefined },
    service: undefined,
    mutualTls: false,
    sourceAddress: '',
    destinationAddress: '',
    hboneAddress: undefined,
    traceId: undefined,
  })
  return { ...unknown, source_workload: 'overflow', destination_workload: 'overflow' }
}

/** A principal is only ever one that mutual TLS proved. */
export const principalOf = (record: ConnectionRecord, party: Party): string | undefined =>
  record.mutualTls ? party.identity : undefined
