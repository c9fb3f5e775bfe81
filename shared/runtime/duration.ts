const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/**
 * Milliseconds of a duration as people write it: `5s`, `1m 30s`, `24h`, `250ms`, `7d`; `0` alone needs no unit. Units
 * go from the largest to the smallest, each once at most. Undefined for anything else.
 */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim()
  if (trimmed === '0') return 0
  if (!/^(\d{1,9}(\.\d{1,3})?(ms|s|m|h|d)\s*)+$/.test(trimmed)) return undefined
  let total = 0
  let smallest = Number.POSITIVE_INFINITY
  for (const [, amount = '', unit = ''] of trimmed.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) {
    const unitMs = UNITS_MS[unit] ?? Number.NaN
    if (unitMs >= smallest) return undefined
    smallest = unitMs
    total += Number(amount) * unitMs
  }
  return Math.round(total)
}
