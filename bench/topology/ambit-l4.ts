import type { LabMesh } from '../../shared/lab/mesh.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import type { Site } from '../site.ts'
import { sumSamples } from './metrics-text.ts'
import type { Hop, Topology } from './topology.ts'

const METRICS_PORT = 15_020

/** Two pods of one node: one ztunnel has both ends. */
export const ambitOneNode: Topology = {
  name: 'ambit-l4-one-node',
  about: 'ambit L4, both pods on one node, one ztunnel',
  family: 'ambit-l4-one-node',
  encrypted: true,
  inQuick: true,
  scope: 'all-workloads',
  descriptorsPerConnection: 4,
  bothEndsInOneProcess: true,
  start: (site) => startBetween(site, 'near', 0),
}

/** Pods of two nodes: a ztunnel at each end. */
export const ambitTwoNodes: Topology = {
  name: 'ambit-l4-two-nodes',
  about: 'ambit L4, pods on two nodes, a ztunnel on each',
  family: 'ambit-l4-two-nodes',
  encrypted: true,
  inQuick: true,
  scope: 'all-workloads',
  // A ztunnel sets two aside: whether a connection needs one of its own to go on is known only later.
  descriptorsPerConnection: 2,
  bothEndsInOneProcess: false,
  start: (site) => startBetween(site, 'far', 1),
}

async function startBetween(site: Site, name: string, serverNode: 0 | 1) {
  const client = await site.meshPod(`${name}-client`, 0)
  const server = await site.meshPod(`${name}-server`, serverNode)
  const { mesh, log } = await site.mesh()
  const nodes = serverNode === 0 ? ([0] as const) : ([0, 1] as const)
  return {
    client,
    server,
    host: () => server.address4,
    proxies: nodes.map((node) => {
      const { pid } = mesh.ztunnel(site.meshNodeName(node))
      if (pid === undefined) throw new AmbitError('BENCH_PROCESS', 'a ztunnel is not running')
      return { name: `ztunnel of ${site.meshNodeName(node)}`, pids: [pid] }
    }),
    hops: [
      ztunnelHop(mesh, site.meshNodeName(0), 'source', server.name),
      ztunnelHop(mesh, site.meshNodeName(serverNode), 'destination', server.name),
    ],
    logs: [log],
  }
}

/** What a ztunnel counts of tunnelled connections to a pod. */
function ztunnelHop(
  mesh: LabMesh,
  node: string,
  reporter: 'source' | 'destination',
  workload: string,
): Hop {
  return {
    name: `ztunnel of ${node} as ${reporter}`,
    read: async () => {
      const text = await mesh.get(mesh.node(node), METRICS_PORT, '/metrics')
      const labels = {
        reporter,
        destination_workload: workload,
        connection_security_policy: 'mutual_tls',
      }
      const sum = (name: string): number => sumSamples(text, name, labels)
      return {
        connections: sum('istio_tcp_connections_opened_total'),
        bytes: sum('istio_tcp_sent_bytes_total') + sum('istio_tcp_received_bytes_total'),
      }
    },
  }
}
