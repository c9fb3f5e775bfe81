import { shortNumber } from './figures.ts'
import type { Cell, Results } from './results.ts'
import { remarks, TABLE_HEAD, tableRow } from './table.ts'

/** One page with everything in it: charts as inline SVG, no script, nothing loaded from elsewhere. */
export function renderPage(results: Results): string {
  const { options, machine } = results
  const sections = results.workloads.flatMap((workload) => {
    const cells = results.cells.filter((cell) => cell.workload === workload.name)
    if (cells.length === 0) return []
    const { figure } = workload
    return [
      `<section><h2>${escapeHtml(workload.name)}</h2>`,
      `<p>${escapeHtml(workload.about)}. ${escapeHtml(figure.name)} in ${escapeHtml(figure.unit)}, ${figure.better} is better; the line in a bar spans the rounds.</p>`,
      barChart(cells, figure.unit),
      table(cells, options.baseline),
      ...remarks(cells).map((line) => `<p class="remark">${escapeHtml(line.trim())}</p>`),
      '</section>',
    ]
  })
  const facts = Object.entries(machine).map(
    ([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`,
  )
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ambit bench</title>
<style>${STYLE}</style>
</head>
<body>
<h1>ambit bench</h1>
<p>${escapeHtml(results.startedAt)}: ${options.rounds} rounds of ${options.durationMs / 1_000} s in rotation${options.quick ? ', quick' : ''}. Ratios are of medians, to the better ${escapeHtml(options.baseline)} of this run. CPU, context switches and memory are those of all proxies of the path together.</p>
<dl>${facts.join('')}</dl>
${proofTable(results)}
${sections.join('\n')}
</body>
</html>
`
}

export const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)

const STYLE = `
:root { color-scheme: light dark; --bar: #4a7ebb; --own: #d9822b; --line: #222; --rule: #8885; }
@media (prefers-color-scheme: dark) { :root { --line: #eee; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; font-size: 13px; }
dd { margin: 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { display: block; width: 100%; max-width: 60rem; height: auto; margin: .5rem 0; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.bar { fill: var(--bar); } .own { fill: var(--own); }
.spread { stroke: var(--line); stroke-width: 1.5; }
.remark { font-size: 13px; margin: .2rem 0; opacity: .8; }
`

const ROW = 24
const LABEL_WIDTH = 200
const PLOT_WIDTH = 560
const CHART_WIDTH = 860

/** A bar a topology, with a line from the least to the most of its rounds. */
function barChart(cells: readonly Cell[], unit: string): string {
  const most = Math.max(0, ...cells.map((cell) => cell.summary?.value.max ?? 0))
  const x = (value: number): number => (most === 0 ? 0 : (Math.max(0, value) / most) * PLOT_WIDTH)
  const bars = cells.map(({ topology, summary }, index) => {
    const top = index * ROW + 4
    const middle = top + 8
    const label = `<text x="${LABEL_WIDTH - 8}" y="${middle + 4}" text-anchor="end">${escapeHtml(topology)}</text>`
    if (summary === undefined)
      return `${label}<text x="${LABEL_WIDTH + 4}" y="${middle + 4}">failed</text>`
    const { median, min, max } = summary.value
    const kind = topology.startsWith('ambit') ? 'own' : 'bar'
    return [
      label,
      `<rect class="${kind}" x="${LABEL_WIDTH}" y="${top}" width="${x(median).toFixed(1)}" height="16"/>`,
      `<line class="spread" x1="${(LABEL_WIDTH + x(min)).toFixed(1)}" x2="${(LABEL_WIDTH + x(max)).toFixed(1)}" y1="${middle}" y2="${middle}"/>`,
      `<text x="${(LABEL_WIDTH + x(Math.max(median, max)) + 6).toFixed(1)}" y="${middle + 4}">${shortNumber(median)} ${escapeHtml(unit)}</text>`,
    ].join('')
  })
  const height = cells.length * ROW + 4
  return `<svg viewBox="0 0 ${CHART_WIDTH} ${height}" role="img">${bars.join('')}</svg>`
}

function table(cells: readonly Cell[], baseline: string): string {
  const row = (fields: readonly string[], tag: 'td' | 'th'): string =>
    `<tr>${fields.map((field) => `<${tag}>${escapeHtml(field)}</${tag}>`).join('')}</tr>`
  const rows = cells.map((cell) => row(tableRow(cell, baseline), 'td'))
  return `<table>${row(TABLE_HEAD, 'th')}${rows.join('')}</table>`
}

function proofTable({ topologies }: Results): string {
  const rows = topologies.map(({ name, about, encrypted, proof }) => {
    const wire = `${proof.framesThatShowThePayload} of ${proof.frames} frames show a known payload${encrypted ? '' : ' (not encrypted)'}`
    const hops = proof.hops.map((hop) => hop.name).join(', then ')
    return `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(about)}</td><td>${wire}</td><td>${escapeHtml(hops || 'no hop')}</td></tr>`
  })
  return `<h2>Topologies, and what proves them</h2><table><tr><th>name</th><th>what</th><th>on the wire</th><th>hops that counted it</th></tr>${rows.join('')}</table>`
}
