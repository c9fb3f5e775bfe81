import type { Metrics } from '../../shared/telemetry/metrics.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../compile/resource.ts'

export interface ServerMetrics {
  streams(open: number): void
  /** One response went out. */
  pushed(typeUrl: string, resources: number, removed: number): void
  rejected(typeUrl: string): void
}

/** Clients choose type URLs, labels do not. */
const TYPE_LABELS: ReadonlyMap<string, string> = new Map([
  [ADDRESS_TYPE, 'Address'],
  [AUTHORIZATION_TYPE, 'Authorization'],
])

export const typeLabel = (typeUrl: string): string => TYPE_LABELS.get(typeUrl) ?? 'other'

export function createServerMetrics(metrics: Metrics): ServerMetrics {
  const streams = metrics.gauge({ name: 'ambit_xds_streams', help: 'Open xDS streams (unstable)' })
  const pushed = metrics.counter({
    name: 'ambit_xds_pushed_resources_total',
    help: 'Resources sent to clients because they were new or changed (unstable)',
    labels: ['type'],
  })
  const removed = metrics.counter({
    name: 'ambit_xds_removed_resources_total',
    help: 'Removals sent to clients (unstable)',
    labels: ['type'],
  })
  const rejected = metrics.counter({
    name: 'ambit_xds_rejects_total',
    help: 'Responses that a client refused (unstable)',
    labels: ['type'],
  })
  return {
    streams: (open) => streams.set({}, open),
    pushed(typeUrl, resources, gone) {
      const type = typeLabel(typeUrl)
      if (resources > 0) pushed.inc({ type }, resources)
      if (gone > 0) removed.inc({ type }, gone)
    },
    rejected: (typeUrl) => rejected.inc({ type: typeLabel(typeUrl) }),
  }
}
