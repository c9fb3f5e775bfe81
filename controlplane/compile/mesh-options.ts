/** What holds for the whole mesh. */
export interface MeshOptions {
  readonly trustDomain: string
  /** Policies in this namespace hold for all. */
  readonly rootNamespace: string
  readonly clusterId: string
  /** The name of the local network; a label on the root namespace takes its place. */
  readonly network: string
  /** The DNS suffix of services. */
  readonly domain: string
  /** Where services without addresses get theirs from; CIDRs. */
  readonly vipRangeV4: string
  readonly vipRangeV6: string
}

export const DEFAULT_MESH_OPTIONS: MeshOptions = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterId: 'Kubernetes',
  network: '',
  domain: 'cluster.local',
  vipRangeV4: '240.240.0.0/16',
  vipRangeV6: '2001:2::/48',
}

/** The options as the conversion of one object needs them. */
export interface MeshContext extends MeshOptions {
  /** On the wire the default trust domain is left out. */
  readonly wireTrustDomain: string
}

export const meshContextOf = (options: MeshOptions, network: string): MeshContext => ({
  ...options,
  network,
  wireTrustDomain: options.trustDomain === 'cluster.local' ? '' : options.trustDomain,
})
