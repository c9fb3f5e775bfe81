import type { Clock } from '../shared/runtime/clock.ts'
import { canonicalAddress } from '../shared/runtime/ip-address.ts'
import type { Component } from '../shared/runtime/lifecycle.ts'
import type { Log } from '../shared/runtime/log.ts'
import type { Metrics } from '../shared/telemetry/metrics.ts'
import { createXdsMetrics } from '../shared/telemetry/xds-metrics.ts'
import { DeltaClient } from '../shared/xds/delta-client.ts'
import { ztunnelNode } from '../shared/xds/node-identity.ts'
import type { MeshSource } from './data-plane/mesh-source.ts'
import type { Enrollment, WantedPod } from './enroll/enrollment.ts'
import { NodeAgentClient } from './enroll/node-agent-client.ts'
import type { ZtunnelSettings } from './settings.ts'

export const ADDRESS_TYPE = 'type.googleapis.com/istio.workload.Address'
export const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization'

export interface ControlOptions {
  readonly settings: ZtunnelSettings
  readonly mesh: MeshSource
  readonly enrollment: Enrollment
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
}

export interface Control {
  readonly components: readonly Component[]
  /** What readiness waits for, by the names that operators know (ztunnel spec, section 10.6). */
  readonly pending: () => readonly string[]
}

/** Connects the mesh store and enrollment to the control plane. What they hold outlives the connection. */
export function subscribe(options: ControlOptions): Control {
  const { settings, mesh, enrollment, clock, log } = options
  const endpoint = {
    address: settings.xdsAddress,
    rootFile: settings.caRoot,
    tokenFile: settings.token,
    clusterId: settings.clusterId,
    clock,
    log,
  }
  const xds = new DeltaClient({
    ...endpoint,
    node: ztunnelNode(settings),
    // Policies before addresses: a workload must not be reachable before what protects it is known.
    types: [
      {
        typeUrl: AUTHORIZATION_TYPE,
        apply: ({ upserts, removed }) => mesh.applyPolicies(upserts, removed),
      },
      {
        typeUrl: ADDRESS_TYPE,
        apply: ({ upserts, removed }) => mesh.applyAddresses(upserts, removed),
      },
    ],
    metrics: createXdsMetrics(options.metrics),
  })
  let informed = false
  const agent = new NodeAgentClient({
    ...endpoint,
    node: settings.node,
    onPods: (pods, removed, snapshot) => {
      enrollment.update(pods.map(canonical), removed, snapshot)
      informed ||= snapshot
    },
  })
  enrollment.report = (uid, state, error) => agent.report(uid, state, error)
  return {
    components: [xds, agent],
    pending: () => [
      ...(xds.isReady ? [] : ['state manager']),
      ...(informed && enrollment.pending === 0 ? [] : ['workload proxy manager']),
    ],
  }
}

/** Namespaces are found by the spelling that the kernel's addresses have here. */
const canonical = (pod: WantedPod): WantedPod => ({
  ...pod,
  addresses: pod.addresses.flatMap((text) => canonicalAddress(text) ?? []),
})
