import { readdirSync, readFileSync } from 'node:fs'
import type { Metrics } from './metrics.ts'

/** What every program says about itself: `istio_build`, `process_open_fds`, `process_max_fds`. */
export function declareProcessMetrics(
  metrics: Metrics,
  build: { readonly component: string; readonly version: string },
): void {
  metrics
    .gauge({
      name: 'istio_build',
      help: 'Istio component build info',
      labels: ['component', 'tag'],
    })
    .set({ component: build.component, tag: build.version || 'unknown' }, 1)
  metrics.gaugeOf(
    { name: 'process_open_fds', help: 'Number of open file descriptors' },
    openDescriptors,
  )
  metrics.gaugeOf(
    { name: 'process_max_fds', help: 'Maximum number of open file descriptors' },
    descriptorLimit,
  )
}

/** Less the one that reading the folder takes. */
function openDescriptors(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return undefined
  }
}

function descriptorLimit(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
