/** Who a client says it is, in the first request of a type. */
export interface XdsNode {
  readonly id: string
  readonly metadata: Readonly<Record<string, string>>
}

export interface ZtunnelIdentity {
  readonly node: string
  readonly clusterId: string
  readonly network: string
  /** Of the pod that ztunnel runs in; on a machine without Kubernetes there is none. */
  readonly podName?: string
  readonly podNamespace?: string
  readonly instanceIp?: string
}

/** The node of a ztunnel: `ztunnel~ip~pod.namespace~namespace.svc.cluster.local` (ztunnel spec, section 8). */
export function ztunnelNode(identity: ZtunnelIdentity): XdsNode {
  const { node, clusterId, network, instanceIp = '1.1.1.1' } = identity
  const { podName = `ztunnel-${node}`, podNamespace = 'istio-system' } = identity
  return {
    id: `ztunnel~${instanceIp}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`,
    metadata: {
      NAME: podName,
      NAMESPACE: podNamespace,
      INSTANCE_IPS: instanceIp,
      NODE_NAME: node,
      CLUSTER_ID: clusterId,
      ...(network === '' ? {} : { NETWORK: network }),
    },
  }
}
