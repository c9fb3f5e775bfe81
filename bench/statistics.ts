/** Middle and extremes of the rounds of one measure. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The mean of the middle two for an even number; NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** Undefined when nothing was measured. */
export function spreadOf(values: readonly (number | undefined)[]): Spread | undefined {
  const known = values.filter((value) => value !== undefined)
  if (known.length === 0) return undefined
  return { median: median(known), min: Math.min(...known), max: Math.max(...known) }
}

/** `value` over `base`; undefined where one is missing or nothing can be compared with. */
export function ratioOf(value: number | undefined, base: number | undefined): number | undefined {
  if (value === undefined || base === undefined || base === 0) return undefined
  return value / base
}

/** Which way a figure improves. */
export type Better = 'higher' | 'lower'

export const isBetter = (better: Better, one: number, other: number): boolean =>
  better === 'higher' ? one > other : one < other
