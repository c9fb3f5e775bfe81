import type { Metrics } from './metrics.ts'

/** What a node agent says about the pods it captures. */
export interface CaptureMetrics {
  /** A pod is wanted and not yet served. */
  pending(count: number): void
  active(count: number): void
  started(): void
  stopped(): void
  /** Accepting stopped at the descriptor limit. */
  paused(): void
}

/** `workload_manager_*` under the names and without the prefix that Istio's in-pod mode has (ztunnel spec 10.2). */
export function createCaptureMetrics(metrics: Metrics): CaptureMetrics {
  const gauge = (name: string, help: string) => metrics.gauge({ name, help })
  const counter = (name: string, help: string) => metrics.counter({ name, help })
  const active = gauge(
    'workload_manager_active_proxy_count',
    'The total number current workloads with active proxies (unstable)',
  )
  const pending = gauge(
    'workload_manager_pending_proxy_count',
    'The total number current workloads with pending proxies (unstable)',
  )
  const started = counter(
    'workload_manager_proxies_started_total',
    'The total number of proxies that were started (unstable)',
  )
  const stopped = counter(
    'workload_manager_proxies_stopped_total',
    'The total number of proxies that were stopped (unstable)',
  )
  const pauses = counter(
    'ambit_accept_pauses_total',
    'How often accepting paused at the limit of file descriptors (unstable)',
  )
  return {
    pending: (count) => pending.set({}, count),
    active: (count) => active.set({}, count),
    started: () => started.inc({}),
    stopped: () => stopped.inc({}),
    paused: () => pauses.inc({}),
  }
}
