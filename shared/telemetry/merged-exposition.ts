/**
 * Several OpenMetrics texts of the same program made into one: samples with the same name and labels are added up, be
 * they counters, buckets or levels. Made for texts of `Metrics.exposition`, which have neither timestamps nor
 * exemplars.
 */
export class MergedExposition {
  readonly #families = new Map<string, Family>()
  #samples = 0

  /** How many samples it holds. */
  get size(): number {
    return this.#samples
  }

  /** Adds a text; with `totalsOnly` only what never goes down: counters and histograms. */
  add(text: string, { totalsOnly = false } = {}): void {
    let help = ''
    let family: Family | undefined
    for (const line of text.split('\n')) {
      if (line.startsWith('# HELP ')) {
        help = line
      } else if (line.startsWith('# TYPE ')) {
        family = totalsOnly && line.endsWith(' gauge') ? undefined : this.#family(line, help)
      } else if (line !== '' && !line.startsWith('#') && family !== undefined) {
        this.#count(family, line)
      }
    }
  }

  /** OpenMetrics text, `# EOF` at the end. */
  text(): string {
    const lines: string[] = []
    for (const { help, type, samples } of this.#families.values()) {
      if (samples.size === 0) continue
      lines.push(help, type)
      for (const [series, value] of samples) lines.push(`${series} ${value}`)
    }
    return `${lines.join('\n')}\n# EOF\n`
  }

  #family(type: string, help: string): Family {
    const known = this.#families.get(type)
    if (known !== undefined) return known
    const family: Family = { help, type, samples: new Map() }
    this.#families.set(type, family)
    return family
  }

  #count({ samples }: Family, line: string): void {
    const space = line.lastIndexOf(' ')
    const series = line.slice(0, space)
    const known = samples.get(series)
    if (known === undefined) this.#samples++
    samples.set(series, (known ?? 0) + Number(line.slice(space + 1)))
  }
}

interface Family {
  readonly help: string
  readonly type: string
  /** By name and labels, as they stand in the text. */
  readonly samples: Map<string, number>
}
