import { Authorization } from '../proto/generated/authorization.ts'
import {
  Address,
  Service as ServiceProto,
  Workload as WorkloadProto,
} from '../proto/generated/workload.ts'
import type { Service, Workload } from './model.ts'
import type { Upsert } from './store.ts'

/** What `fromPartial` of a message takes. */
type Fields<T extends { fromPartial(object: never): unknown }> = Parameters<T['fromPartial']>[0]

/** For tests: a healthy HBONE pod `default/<name>` with what is given. */
export function testWorkload(given: Partial<Workload>): Workload {
  const name = given.name ?? 'pod'
  const namespace = given.namespace ?? 'default'
  return {
    uid: `Kubernetes//Pod/${namespace}/${name}`,
    name,
    namespace,
    serviceAccount: 'default',
    trustDomain: 'cluster.local',
    addresses: [],
    hostname: '',
    network: '',
    networkGateway: undefined,
    networkMode: 'STANDARD',
    node: '',
    clusterId: 'Kubernetes',
    tunnelProtocol: 'HBONE',
    nativeTunnel: false,
    applicationTunnel: undefined,
    waypoint: undefined,
    status: 'HEALTHY',
    canonicalName: '',
    canonicalRevision: '',
    workloadType: 'pod',
    workloadName: '',
    locality: { region: '', zone: '', subzone: '' },
    services: new Map(),
    authorizationPolicies: [],
    capacity: 1,
    ...given,
  }
}

/** For tests: a service `default/<name>` with what is given. */
export function testService(given: Partial<Service>): Service {
  const name = given.name ?? 'service'
  const namespace = given.namespace ?? 'default'
  const hostname = given.hostname ?? `${name}.${namespace}.svc.cluster.local`
  return {
    key: `${namespace}/${hostname}`,
    name,
    namespace,
    hostname,
    addresses: [],
    ports: new Map(),
    subjectAltNames: [],
    waypoint: undefined,
    weightedWaypoints: [],
    loadBalancing: { mode: 'STANDARD', routingPreference: [], healthPolicy: 'ONLY_HEALTHY' },
    ipFamilies: 'AUTOMATIC',
    canonical: false,
    visibility: 'PUBLIC',
    ...given,
  }
}

/** For tests: the resource of a workload. */
export function workloadResource(given: Fields<typeof WorkloadProto>): Upsert {
  const value = WorkloadProto.fromPartial({ namespace: 'default', tunnelProtocol: 1, ...given })
  const uid = value.uid || `Kubernetes//Pod/${value.namespace}/${value.name}`
  const type = { $case: 'workload' as const, value: { ...value, uid } }
  return { name: uid, body: Address.encode({ type }).finish() }
}

/** For tests: the resource of a service. */
export function serviceResource(given: Fields<typeof ServiceProto>): Upsert {
  const value = ServiceProto.fromPartial({ namespace: 'default', ...given })
  const hostname = value.hostname || `${value.name}.${value.namespace}.svc.cluster.local`
  const type = { $case: 'service' as const, value: { ...value, hostname } }
  return { name: `${value.namespace}/${hostname}`, body: Address.encode({ type }).finish() }
}

/** For tests: the resource of a policy. */
export function policyResource(given: Fields<typeof Authorization>): Upsert {
  const value = Authorization.fromPartial({ namespace: 'default', ...given })
  return { name: `${value.namespace}/${value.name}`, body: Authorization.encode(value).finish() }
}
