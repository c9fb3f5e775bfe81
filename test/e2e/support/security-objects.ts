type Json = Readonly<Record<string, unknown>>

export interface PolicyTarget {
  readonly name?: string
  readonly namespace?: string
  /** Labels of the pods it is for; null for all of the namespace. */
  readonly selector?: Json | null
}

export type Rule = Json

/** The objects of `security.istio.io` that people write; for the pods `app: payment` of `default` unless told. */
const securityObject = (kind: string, target: PolicyTarget, spec: Json): object => {
  const { name = 'case', namespace = 'default', selector = { app: 'payment' } } = target
  return {
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name, namespace },
    spec: { ...(selector === null ? {} : { selector: { matchLabels: selector } }), ...spec },
  }
}

export const allow = (rules: readonly Rule[], target: PolicyTarget = {}): object =>
  securityObject('AuthorizationPolicy', target, { action: 'ALLOW', rules })

export const deny = (rules: readonly Rule[], target: PolicyTarget = {}): object =>
  securityObject('AuthorizationPolicy', target, { action: 'DENY', rules })

type Mode = 'STRICT' | 'PERMISSIVE' | 'DISABLE' | 'UNSET'

export const peers = (
  mode: Mode | undefined,
  target: PolicyTarget = {},
  ports: Readonly<Record<number, Mode>> = {},
): object =>
  securityObject('PeerAuthentication', target, {
    ...(mode === undefined ? {} : { mtls: { mode } }),
    ...(Object.keys(ports).length === 0
      ? {}
      : {
          portLevelMtls: Object.fromEntries(
            Object.entries(ports).map(([port, one]) => [port, { mode: one }]),
          ),
        }),
  })

/** One rule: a caller of any of these sources. */
export const from = (...sources: readonly Json[]): Rule => ({
  from: sources.map((source) => ({ source })),
})

/** One rule: a call of any of these. */
export const to = (...operations: readonly Json[]): Rule => ({
  to: operations.map((operation) => ({ operation })),
})

/** One rule: all of these conditions. */
export const when = (...conditions: readonly Json[]): Rule => ({ when: conditions })
