import type { Metrics } from './metrics.ts'

/** How an xDS stream ended (ztunnel spec 10.2). */
export type XdsTermination = 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete'

export interface XdsMetrics {
  terminated(reason: XdsTermination): void
  /** A response arrived. */
  message(typeUrl: string, bytes: number): void
}

/** Type URLs are the ones that this client subscribed to, so the label is a closed set. */
export function createXdsMetrics(metrics: Metrics): XdsMetrics {
  const terminations = metrics.counter({
    name: 'istio_xds_connection_terminations_total',
    help: 'The total number of completed connections to xds server (unstable)',
    labels: ['reason'],
  })
  const messages = metrics.counter({
    name: 'istio_xds_message_total',
    help: 'Total number of messages received (unstable)',
    labels: ['url'],
  })
  const bytes = metrics.counter({
    name: 'istio_xds_message_bytes_total',
    help: 'Total number of bytes received (unstable)',
    labels: ['url'],
  })
  return {
    terminated: (reason) => terminations.inc({ reason }),
    message(url, size) {
      messages.inc({ url })
      bytes.inc({ url }, size)
    },
  }
}
