/** A number with three significant digits and no exponent; a dash for what was not measured. */
export function shortNumber(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '-'
  const size = Math.abs(value)
  if (size >= 100) return Math.round(value).toLocaleString('en-US')
  if (size >= 10) return value.toFixed(1)
  if (size >= 1 || size === 0) return value.toFixed(2)
  return value.toPrecision(2).includes('e') ? value.toFixed(5) : value.toPrecision(2)
}

const MIB = 1_048_576

export const mebibytes = (bytes: number | undefined): string =>
  bytes === undefined ? '-' : (bytes / MIB).toFixed(1)

/** Seconds as milliseconds. */
export const milliseconds = (seconds: number | undefined): string =>
  shortNumber(seconds === undefined ? undefined : seconds * 1_000)
