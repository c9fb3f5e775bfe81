/** A workload identity of the form that Istio uses, already checked. */
export interface SpiffeId {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
  /** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */
  readonly text: string
}

/** SPIFFE-ID, section 2.3: no longer than this in bytes. */
const MAX_LENGTH = 2048

/** SPIFFE-ID, sections 2.1 and 2.2: these characters and no others, so no escapes and no ports. */
const FORM = /^spiffe:\/\/([a-z0-9._-]{1,255})\/ns\/([a-zA-Z0-9._-]+)\/sa\/([a-zA-Z0-9._-]+)$/

/**
 * Undefined unless `text` is exactly `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. Stricter than
 * Istio's parser, which lets parts be empty.
 */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  if (text.length > MAX_LENGTH) return undefined
  const [, trustDomain, namespace, serviceAccount] = FORM.exec(text) ?? []
  if (trustDomain === undefined || namespace === undefined || serviceAccount === undefined) {
    return undefined
  }
  if (isRelative(namespace) || isRelative(serviceAccount)) return undefined
  return { trustDomain, namespace, serviceAccount, text }
}

/** The inverse of `parseSpiffeId`; parts that it would refuse give a text that it refuses. */
export const formatSpiffeId = (parts: Omit<SpiffeId, 'text'>): string =>
  `spiffe://${parts.trustDomain}/ns/${parts.namespace}/sa/${parts.serviceAccount}`

/** SPIFFE-ID forbids relative path modifiers. */
const isRelative = (segment: string): boolean => segment === '.' || segment === '..'
