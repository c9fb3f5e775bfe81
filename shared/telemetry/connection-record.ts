/** Everything said about one connection, once: the access log line and the metric labels are made from it. */
export interface ConnectionRecord {
  readonly direction: 'inbound' | 'outbound'
  readonly source: Party
  readonly destination: Party
  /** The service that was addressed. */
  readonly service:
    | { readonly hostname: string; readonly namespace: string; readonly name: string }
    | undefined
  readonly mutualTls: boolean
  /** `ip:port` of the client. */
  readonly sourceAddress: string
  /** `ip:port` that we, or the peer, connected to. */
  readonly destinationAddress: string
  /** The CONNECT authority, for HBONE. */
  readonly hboneAddress: string | undefined
  /** Joins the two sides' logs. */
  readonly traceId: string | undefined
}

export interface Party {
  readonly workload: PartyWorkload | undefined
  /** Verified SPIFFE identity; only with mutual TLS. */
  readonly identity: string | undefined
}

/** The part of a workload that telemetry names. */
export interface PartyWorkload {
  readonly name: string
  readonly namespace: string
  readonly workloadName: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly clusterId: string
  readonly locality: { readonly region: string; readonly zone: string; readonly subzone: string }
}

/** Why a connection failed, as the `response_flags` label says it. */
export type ResponseFlag =
  | '-'
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED'

export interface Outcome {
  readonly flag: ResponseFlag
  /** Set for a failure; the text of the access log. */
  readonly error: string | undefined
  /** For a denial. */
  readonly policy?: string | undefined
  readonly reason?: string | undefined
}

/** One connection being counted. Every method is cheap: metric children are looked up once, at the start. */
export interface ConnectionMeter {
  /** Bytes that came from the client. */
  received(bytes: number): void
  /** Bytes that went to the client. */
  sent(bytes: number): void
  /** The upstream answered; milliseconds since the connection was accepted. */
  established(ms: number): void
  /** First byte from the server to the client; milliseconds since the connection was accepted. */
  firstByte(ms: number): void
  /** Once; counts, logs and forgets. */
  close(outcome: Outcome): void
}

export interface ConnectionTelemetry {
  open(record: ConnectionRecord): ConnectionMeter
  /** A connection that was turned away before anything was known about it. */
  refused(event: {
    readonly direction: 'inbound' | 'outbound'
    readonly sourceAddress: string
    readonly destinationAddress: string
    /** The local workload, as `namespace/name`. */
    readonly workload: string | undefined
    readonly error: string
    readonly flag: ResponseFlag
  }): void
}
