import type { ConnectionRecord, PartyWorkload } from './connection-record.ts'

/** Records for tests: `frontend` calls `payments` v2 in namespace `shop`, over mutual TLS. */
export const workload = (name: string, changes: Partial<PartyWorkload> = {}): PartyWorkload => ({
  name: `${name}-7c9f`,
  namespace: 'shop',
  workloadName: name,
  canonicalName: name,
  canonicalRevision: 'v2',
  clusterId: 'Kubernetes',
  locality: { region: 'eu', zone: 'eu-1', subzone: '' },
  ...changes,
})

export const record = (changes: Partial<ConnectionRecord> = {}): ConnectionRecord => ({
  direction: 'outbound',
  source: {
    workload: workload('frontend'),
    identity: 'spiffe://cluster.local/ns/shop/sa/frontend',
  },
  destination: {
    workload: workload('payments', { locality: { region: '', zone: '', subzone: '' } }),
    identity: 'spiffe://cluster.local/ns/shop/sa/payments',
  },
  service: { hostname: 'payments.shop.svc.cluster.local', namespace: 'shop', name: 'payments' },
  mutualTls: true,
  sourceAddress: '10.244.1.2:40000',
  destinationAddress: '10.244.2.3:15008',
  hboneAddress: '10.244.2.3:8080',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  ...changes,
})

/** The same connection when nothing is known about its ends. */
export const strangers = (changes: Partial<ConnectionRecord> = {}): ConnectionRecord =>
  record({
    source: { workload: undefined, identity: undefined },
    destination: { workload: undefined, identity: undefined },
    service: undefined,
    mutualTls: false,
    hboneAddress: undefined,
    traceId: undefined,
    ...changes,
  })
