/** The sum of the samples of a metric, in the Prometheus text format, that carry all of these labels. */
export function sumSamples(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>>,
): number {
  const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`)
  let sum = 0
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${name}{`)) continue
    const end = line.lastIndexOf('}')
    const own = line.slice(name.length, end).split(/[{,]/)
    if (wanted.every((label) => own.includes(label)))
      sum += Number(
        line
          .slice(end + 1)
          .trim()
          .split(' ')[0],
      )
  }
  return sum
}
