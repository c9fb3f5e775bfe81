import { mebibytes, milliseconds, shortNumber } from './figures.ts'
import type { Cell, Results } from './results.ts'

const HEAD = [
  'topology',
  'median',
  'min',
  'max',
  'ratio',
  'p50 ms',
  'p90 ms',
  'p99 ms',
  'p99.9 ms',
  'CPU ms/1000',
  'CPU ms/GB',
  'ctx/s',
  'RSS MiB',
  'PSS MiB',
] as const

export type TableRow = readonly string[]

/** What a row of figures is made of; the page shows the same. */
export const TABLE_HEAD: TableRow = HEAD

export function tableRow(cell: Cell, baseline: string): TableRow {
  const { summary, topology } = cell
  if (summary === undefined) return [topology, 'failed', ...HEAD.slice(2).map(() => '-')]
  const sum = (of: 'contextSwitchesPerSecond' | 'rssBytes' | 'pssBytes'): number | undefined =>
    summary.proxies.length === 0
      ? undefined
      : summary.proxies.reduce((total, proxy) => total + proxy[of].median, 0)
  const hasProxies = summary.proxies.length > 0
  return [
    topology,
    shortNumber(summary.value.median),
    shortNumber(summary.value.min),
    shortNumber(summary.value.max),
    summary.ratios[baseline]?.toFixed(2) ?? '-',
    shortNumber(summary.p50Ms?.median),
    shortNumber(summary.p90Ms?.median),
    shortNumber(summary.p99Ms?.median),
    shortNumber(summary.p999Ms?.median),
    hasProxies ? milliseconds(summary.cpuSecondsPer1000Requests?.median) : '-',
    hasProxies ? milliseconds(summary.cpuSecondsPerGb?.median) : '-',
    shortNumber(sum('contextSwitchesPerSecond')),
    mebibytes(sum('rssBytes')),
    mebibytes(sum('pssBytes')),
  ]
}

/** Everything for a terminal, a block a workload. Figures of proxies are of all on the path together. */
export function renderTable(results: Results): string {
  const { baseline } = results.options
  const lines: string[] = []
  for (const { name, about, figure } of results.workloads) {
    const cells = results.cells.filter((cell) => cell.workload === name)
    if (cells.length === 0) continue
    lines.push('', `${name}: ${about}`)
    lines.push(
      `  ${figure.name} in ${figure.unit}, ${figure.better} is better; ratio to the better ${baseline}`,
    )
    lines.push(...aligned([HEAD, ...cells.map((cell) => tableRow(cell, baseline))]))
    lines.push(...remarks(cells))
  }
  return `${lines.join('\n')}\n`
}

/** What has to be known beside the numbers, once each. */
export function remarks(cells: readonly Cell[]): readonly string[] {
  return cells.flatMap(({ topology, runs, failures }) => {
    const errors = runs.reduce((sum, run) => sum + run.errors, 0)
    const notes = new Set(runs.slice(-1).flatMap((run) => run.notes ?? []))
    return [
      ...[...notes].map((note) => `  ${topology}: ${note}`),
      ...(errors > 0 ? [`  ${topology}: ${errors} errors`] : []),
      ...failures.map((failure) => `  ${topology}: ${failure}`),
    ]
  })
}

function aligned(rows: readonly TableRow[]): readonly string[] {
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => {
    const fields = row.map((text, column) => {
      const width = widths[column] ?? 0
      return column === 0 ? text.padEnd(width) : text.padStart(width)
    })
    return `  ${fields.join('  ')}`
  })
}
