/**
 * The sum of the samples of a metric whose labels include these, in a page of the Prometheus text format; 0 if there
 * are none.
 */
export function metric(
  page: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  let sum = 0
  for (const line of page.split('\n')) {
    const sample = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line)
    if (sample === null || sample[1] !== name) continue
    const given = sample[2]?.split(/,(?=\w+=")/) ?? []
    if (wanted.every((label) => given.includes(label))) sum += Number(sample[3])
  }
  return sum
}
