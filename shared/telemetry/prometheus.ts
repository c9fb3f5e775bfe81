import { createRequire } from 'node:module'
import type * as prometheus from 'prom-client'

const require = createRequire(import.meta.url)

// The parts of prom-client that are used here: the whole of it, with its HTTP client and cluster, costs every thread
// 4 MiB more.
export const Counter: typeof prometheus.Counter = require('prom-client/lib/counter.js')
export const Gauge: typeof prometheus.Gauge = require('prom-client/lib/gauge.js')
export const Histogram: typeof prometheus.Histogram = require('prom-client/lib/histogram.js')
export const Registry: typeof prometheus.Registry = require('prom-client/lib/registry.js')

export type { Counter as PrometheusCounter, OpenMetricsContentType } from 'prom-client'
