/** What a SPIFFE identity says, for matching. */
export interface Principal {
  /** The identity without `spiffe://`, as policies write it. */
  readonly name: string
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}

const SCHEME = 'spiffe://'

/** Undefined unless the text is exactly `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */
export function parsePrincipal(identity: string): Principal | undefined {
  if (!identity.startsWith(SCHEME)) return undefined
  const name = identity.slice(SCHEME.length)
  const [trustDomain, ns, namespace, sa, serviceAccount, ...rest] = name.split('/')
  if (trustDomain === undefined || namespace === undefined || serviceAccount === undefined) {
    return undefined
  }
  if (ns !== 'ns' || sa !== 'sa' || rest.length > 0) return undefined
  return { name, trustDomain, namespace, serviceAccount }
}
