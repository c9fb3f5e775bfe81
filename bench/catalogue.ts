import { ambitOneNode, ambitTwoNodes } from './topology/ambit-l4.ts'
import { direct } from './topology/direct.ts'
import { haproxyPairs } from './topology/haproxy-mtls.ts'
import { nginxPairs } from './topology/nginx-mtls.ts'
import type { Topology } from './topology/topology.ts'
import { DEFAULT_CONNECTIONS, httpWorkloads } from './workload/http-keep-alive.ts'
import { idleConnections } from './workload/idle-connections.ts'
import { iperf3 } from './workload/iperf3.ts'
import { newConnections } from './workload/new-connections.ts'
import { openLoop, RATES } from './workload/open-loop.ts'
import { redisPipeline } from './workload/redis-pipeline.ts'
import type { Workload } from './workload/workload.ts'

/** In the order of their turns. */
export const TOPOLOGIES: readonly Topology[] = [
  direct,
  ambitOneNode,
  ambitTwoNodes,
  ...haproxyPairs,
  ...nginxPairs,
]

/** `connections` are those of the keep-alive HTTP load. */
export const workloadsWith = (
  connections: readonly number[] = DEFAULT_CONNECTIONS,
): readonly Workload[] => [
  // First: a heap that has worked has free room, which hides what connections take.
  idleConnections,
  iperf3(1),
  iperf3(8),
  ...httpWorkloads(connections),
  newConnections,
  redisPipeline,
  ...RATES.map(openLoop),
]
