interface Aged {
  readonly creationTimestamp: number | undefined
  readonly name: string
  readonly namespace: string
}

/** Oldest first, as where one of several objects wins. Without dates: by name, then by namespace. */
export function compareAge(a: Aged, b: Aged): number {
  const left = a.creationTimestamp ?? Number.POSITIVE_INFINITY
  const right = b.creationTimestamp ?? Number.POSITIVE_INFINITY
  if (left !== right) return left < right ? -1 : 1
  if (a.name !== b.name) return a.name < b.name ? -1 : 1
  if (a.namespace !== b.namespace) return a.namespace < b.namespace ? -1 : 1
  return 0
}
