import type { Metrics } from './metrics.ts'

/** What a program says about its traffic threads. */
export interface WorkerCounts {
  /** A worker ended and another one takes its place. */
  restarted(): void
  /** How many workers did not answer the last scrape. */
  silent(count: number): void
}

/** `running` is asked at each scrape. */
export function createWorkerCounts(metrics: Metrics, running: () => number): WorkerCounts {
  metrics.gaugeOf({ name: 'ambit_workers', help: 'Traffic threads that run (unstable)' }, running)
  const restarts = metrics.counter({
    name: 'ambit_worker_restarts_total',
    help: 'Traffic threads that were lost and started anew (unstable)',
  })
  const silent = metrics.gauge({
    name: 'ambit_workers_silent',
    help: 'Traffic threads whose last metrics are older than this scrape (unstable)',
  })
  restarts.inc({}, 0)
  return {
    restarted: () => restarts.inc({}),
    silent: (count) => silent.set({}, count),
  }
}
