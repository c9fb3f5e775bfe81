import {
  Action,
  type Authorization,
  type Group,
  type Match,
  Scope,
} from '../../shared/proto/generated/authorization.ts'
import type { PeerAuthentication } from '../kinds/peer-authentication.ts'
import { emptyMatch, PRESENCE } from './authorization-match.ts'

/** What a workload demands of callers without an identity. */
export type Strictness =
  /** Nothing: plaintext is let in. */
  | { readonly kind: 'open' }
  /** No plaintext on any port. */
  | { readonly kind: 'strict' }
  /** It depends on the port; the groups deny what is not wanted. */
  | { readonly kind: 'ports'; readonly policy: PeerAuthentication; readonly groups: Group[] }

/** The policies in force for a workload, one a level: each the oldest of its level. */
export interface PeerLevels {
  readonly workload: PeerAuthentication | undefined
  readonly namespace: PeerAuthentication | undefined
  readonly mesh: PeerAuthentication | undefined
}

/**
 * The one place that decides what PeerAuthentications mean (controlplane spec, section 3.3): both the bodies of
 * policies and the names that workloads refer to follow from it, so that neither can exist without the other.
 */
export function strictnessOf({ workload, namespace, mesh }: PeerLevels): Strictness {
  const strict =
    [workload, namespace, mesh].map(modeOf).find((mode) => mode !== 'UNSET') === 'STRICT'
  const ports = Object.entries(workload?.spec.portLevelMtls ?? {})
    .map(([port, mtls]) => ({ port: Number(port), mode: mtls?.mode ?? 'UNSET' }))
    .filter(({ mode }) => mode !== 'UNSET' && (mode === 'STRICT') !== strict)
    .map(({ port }) => port)
    .sort((a, b) => a - b)
  if (workload === undefined || ports.length === 0) return { kind: strict ? 'strict' : 'open' }
  return {
    kind: 'ports',
    policy: workload,
    groups: strict ? [exempting(ports)] : ports.map(closing),
  }
}

/** Whether the policy is for some workloads of its namespace only. */
export const isWorkloadLevel = ({ spec }: PeerAuthentication): boolean =>
  Object.keys(spec.selector?.matchLabels ?? {}).length > 0

export const STATIC_STRICT = 'istio_converted_static_strict'

export const convertedName = (policy: PeerAuthentication): string =>
  `converted_peer_authentication_${policy.metadata.name}`

/** Denies all that has no identity. Sent as soon as any PeerAuthentication exists. */
export const staticStrict = (rootNamespace: string): Authorization =>
  denial(rootNamespace, STATIC_STRICT, [{ rules: [{ matches: [anonymous({})] }] }])

export const portLevelAuthorization = (
  policy: PeerAuthentication,
  groups: readonly Group[],
): Authorization => denial(policy.metadata.namespace, convertedName(policy), groups)

const modeOf = (policy: PeerAuthentication | undefined) => policy?.spec.mtls?.mode ?? 'UNSET'

const anonymous = (more: Partial<Match>): Match => ({
  ...emptyMatch(),
  notPrincipals: [PRESENCE],
  ...more,
})

/** Denies plaintext everywhere but on these ports. */
const exempting = (ports: readonly number[]): Group => ({
  rules: [
    { matches: [anonymous({})] },
    ...ports.map((port) => ({ matches: [{ ...emptyMatch(), notDestinationPorts: [port] }] })),
  ],
})

/** Denies plaintext on this port. */
const closing = (port: number): Group => ({
  rules: [{ matches: [anonymous({ destinationPorts: [port] })] }],
})

function denial(namespace: string, name: string, groups: readonly Group[]): Authorization {
  return {
    name,
    namespace,
    scope: Scope.WORKLOAD_SELECTOR,
    action: Action.DENY,
    groups: [...groups],
    dryRun: false,
    extensions: [],
  }
}
