/** One policy, as the engine evaluates it (ztunnel spec, section 4). Made by `convert.ts`. */
export interface Policy {
  /** `namespace/name`: the resource name. */
  readonly key: string
  readonly name: string
  readonly namespace: string
  readonly scope: 'GLOBAL' | 'NAMESPACE' | 'WORKLOAD_SELECTOR'
  readonly action: 'ALLOW' | 'DENY'
  readonly dryRun: boolean
  /** Any rule may match; none means the policy never matches. */
  readonly rules: readonly Rule[]
}

/** All clauses must match; none means the rule matches. */
export type Rule = readonly Clause[]

/** Any match may match; none means the clause matches. */
export type Clause = readonly Match[]

/** Each field: empty, or one value matches; and no value of its `not` twin does. */
export interface Match {
  readonly namespaces: readonly StringMatch[]
  readonly notNamespaces: readonly StringMatch[]
  readonly principals: readonly StringMatch[]
  readonly notPrincipals: readonly StringMatch[]
  readonly serviceAccounts: readonly ServiceAccount[]
  readonly notServiceAccounts: readonly ServiceAccount[]
  readonly sourceIps: readonly Cidr[]
  readonly notSourceIps: readonly Cidr[]
  readonly destinationIps: readonly Cidr[]
  readonly notDestinationIps: readonly Cidr[]
  readonly destinationPorts: readonly number[]
  readonly notDestinationPorts: readonly number[]
}

export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string }
  | { readonly kind: 'presence' }

export interface ServiceAccount {
  readonly namespace: string
  readonly serviceAccount: string
}

export interface Cidr {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array
  /** Bits that must agree. */
  readonly length: number
}

/** What a policy is asked about. Addresses are canonical text, never IPv4-mapped. */
export interface ConnectionFacts {
  readonly sourceIp: string
  /** The peer's verified SPIFFE identity; undefined for plaintext. */
  readonly sourceIdentity: string | undefined
  readonly destinationIp: string
  readonly destinationPort: number
}

/** The policies that apply to one workload. */
export interface PolicySet {
  readonly policies: readonly Policy[]
  /** Names the workload refers to that have not arrived, or were refused as invalid: they deny. */
  readonly missing: readonly string[]
}

export type Decision =
  | {
      readonly verdict: 'allow'
      readonly policy: string | undefined
      readonly dryRun: readonly string[]
    }
  | {
      readonly verdict: 'deny'
      readonly reason: 'explicitly-denied' | 'not-allowed' | 'policy-missing'
      /** `namespace/name` of the policy that decided, where one did. */
      readonly policy: string | undefined
      /** Index of the rule within it. */
      readonly rule: number | undefined
      /** Dry-run policies that would have decided. */
      readonly dryRun: readonly string[]
    }
