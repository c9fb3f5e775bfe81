import { AmbitError } from '../runtime/errors.ts'
import type { Route } from '../runtime/http-endpoint.ts'
import {
  Counter,
  Gauge,
  Histogram,
  type OpenMetricsContentType,
  type PrometheusCounter,
  Registry,
} from './prometheus.ts'

export type Labels<L extends string> = Readonly<Record<L, string>>

export interface MetricOptions<L extends string> {
  /** The full name; counters end in `_total`. */
  readonly name: string
  /** Ends in `(unstable)` unless the name and its labels are a promise. */
  readonly help: string
  /** Closed sets of values only, never text that a peer chooses. */
  readonly labels?: readonly L[]
}

export interface CountingMetric<L extends string> {
  inc(labels: Labels<L>, by?: number): void
}

export interface LevelMetric<L extends string> {
  inc(labels: Labels<L>): void
  dec(labels: Labels<L>): void
  set(labels: Labels<L>, value: number): void
}

export interface DistributionMetric<L extends string> {
  observe(labels: Labels<L>, value: number): void
  /** Drops the series with these labels. */
  forget(labels: Labels<L>): void
}

/** One time series of a counter whose numbers are kept by its owner. */
export interface Sample<L extends string> {
  readonly labels: Partial<Labels<L>>
  readonly value: number
}

const OPEN_METRICS = 'application/openmetrics-text;charset=utf-8;version=1.0.0'

/**
 * The metrics of one program. Each part declares its own beside the code that moves them; two of one name are an error
 * (`METRIC_TWICE`). The exposition is always OpenMetrics text, and a family without a sample is left out of it.
 */
export class Metrics {
  readonly #registry = new Registry<OpenMetricsContentType>()
  readonly #names = new Set<string>()

  constructor() {
    this.#registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  }

  counter<L extends string = never>(options: MetricOptions<L>): CountingMetric<L> {
    const counter = new Counter<L>(this.#declare(options, '_total'))
    return { inc: (labels, by = 1) => counter.inc(labels, by) }
  }

  /**
   * A counter whose series live in a table of the caller's: nothing is looked up or hashed when they move, and
   * `samples` is asked at each scrape.
   */
  tableCounter<L extends string>(
    options: MetricOptions<L>,
    samples: () => Iterable<Sample<L>>,
  ): void {
    void new TableCounter(this.#declare(options, '_total'), samples)
  }

  gauge<L extends string = never>(options: MetricOptions<L>): LevelMetric<L> {
    const gauge = new Gauge<L>(this.#declare(options))
    return {
      inc: (labels) => gauge.inc(labels),
      dec: (labels) => gauge.dec(labels),
      set: (labels, value) => gauge.set(labels, value),
    }
  }

  /** A gauge without labels that is read at each scrape; a read of `undefined` leaves the last value. */
  gaugeOf(options: MetricOptions<never>, read: () => number | undefined): void {
    const declared = this.#declare(options)
    void new Gauge({
      ...declared,
      collect() {
        const value = read()
        if (value !== undefined) this.set(value)
      },
    })
  }

  histogram<L extends string = never>(
    options: MetricOptions<L> & { readonly buckets: readonly number[] },
  ): DistributionMetric<L> {
    const declared = this.#declare(options)
    const histogram = new Histogram<L>({ ...declared, buckets: [...options.buckets] })
    return {
      observe: (labels, value) => histogram.observe(labels, value),
      forget: (labels) => histogram.remove(labels),
    }
  }

  /** OpenMetrics text, `# EOF` at the end. */
  async exposition(): Promise<string> {
    return withoutEmptyFamilies(await this.#registry.metrics())
  }

  /** Pages with the metrics of this program, if it has no others to add. */
  routes(): ReadonlyMap<string, Route> {
    return metricsRoutes(() => this.exposition())
  }

  #declare<L extends string>(options: MetricOptions<L>, suffix = '') {
    const { name, help, labels = [] } = options
    if (!name.endsWith(suffix)) {
      throw new AmbitError('METRIC_NAME', `the counter ${name} has to end in ${suffix}`)
    }
    if (this.#names.has(name)) throw new AmbitError('METRIC_TWICE', `${name} is declared twice`)
    this.#names.add(name)
    return { name, help, labelNames: labels, registers: [this.#registry] }
  }
}

/** `/metrics` and `/stats/prometheus`, as scrapers and Istio's merging of metrics expect them. */
export function metricsRoutes(exposition: () => Promise<string>): ReadonlyMap<string, Route> {
  const route: Route = {
    methods: ['GET', 'POST'],
    answer: async (_query, request) => {
      const open = request.headers.accept?.includes('application/openmetrics-text') ?? false
      return {
        type: open ? OPEN_METRICS : 'text/plain; charset=utf-8',
        body: await exposition(),
      }
    },
  }
  return new Map([
    ['/metrics', route],
    ['/stats/prometheus', route],
  ])
}

class TableCounter<L extends string> extends Counter<L> {
  readonly #samples: () => Iterable<Sample<L>>

  constructor(
    options: ConstructorParameters<typeof Counter<L>>[0],
    samples: () => Iterable<Sample<L>>,
  ) {
    super(options)
    this.#samples = samples
  }

  /** As prom-client's histogram does, labels go as `sharedLabels`: their text is made once, which is most of a scrape. */
  override async get(): ReturnType<PrometheusCounter<L>['get']> {
    const none: Partial<Labels<L>> = {}
    const values = Array.from(this.#samples(), ({ labels, value }) => ({
      value,
      labels: none,
      sharedLabels: labels,
    }))
    return { ...(await super.get()), values }
  }
}

/** A label without a value is `unknown` (Istio's convention), so that no series has an empty label. */
export const labelValue = (value: string | undefined): string => value || 'unknown'

function withoutEmptyFamilies(text: string): string {
  const lines = text.split('\n')
  const kept = lines.filter((line, at) => {
    if (line.startsWith('# HELP ')) return !isComment(lines[at + 2])
    if (line.startsWith('# TYPE ')) return !isComment(lines[at + 1])
    return true
  })
  return kept.join('\n')
}

const isComment = (line: string | undefined): boolean => line === undefined || line.startsWith('#')
