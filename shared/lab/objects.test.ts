import { describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import * as objects from './objects.ts'

const pod = {
  name: 'a-1',
  namespace: 'shop',
  node: 'node-1',
  addresses: ['10.244.1.2', 'fd00:244:1::2'],
}

describe('podObject', () => {
  test('is a running pod as a cluster shows it', () => {
    const made = objects.podObject({
      ...pod,
      serviceAccount: 'a',
      labels: { app: 'a' },
      ports: [{ name: 'http', port: 8080 }],
    })
    expect(made).toMatchObject({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'a-1', namespace: 'shop', labels: { app: 'a' } },
      spec: {
        nodeName: 'node-1',
        serviceAccountName: 'a',
        containers: [{ ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }] }],
      },
      status: {
        phase: 'Running',
        podIP: '10.244.1.2',
        podIPs: [{ ip: '10.244.1.2' }, { ip: 'fd00:244:1::2' }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    })
  })

  test('is not ready when it is not running, and keeps its uid unless told', () => {
    const done = objects.podObject({ ...pod, phase: 'Succeeded' })
    expect(done['status']).toMatchObject({ conditions: [{ status: 'False' }] })
    expect(done.metadata['uid']).toBe(objects.podObject(pod).metadata['uid'])
    expect(done.metadata['uid']).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    expect(objects.podObject({ ...pod, uid: 'u' }).metadata['uid']).toBe('u')
  })
})

test('objects come back from YAML as they were, shared parts written out', () => {
  const labels = { app: 'a' }
  const all = [
    objects.namespaceObject({ name: 'shop', labels: { 'istio.io/dataplane-mode': 'ambient' } }),
    objects.nodeObject({
      name: 'node-1',
      addresses: ['10.99.0.1'],
      zone: 'z1',
      podSubnets: ['10.244.1.0/24'],
    }),
    objects.serviceAccountObject({ name: 'a', namespace: 'shop' }),
    objects.podObject({ ...pod, labels }),
    objects.serviceObject({
      name: 'a',
      namespace: 'shop',
      selector: labels,
      labels,
      ports: [{ port: 80 }],
    }),
    objects.endpointSliceObject({
      service: 'a',
      namespace: 'shop',
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080 }],
      endpoints: [{ address: '10.244.1.2', node: 'node-1', pod: 'a-1' }],
    }),
  ]
  const text = objects.toYaml(all)
  expect(text).not.toContain('&')
  const parsed: unknown[] = []
  for (const document of parseAllDocuments(text))
    if ('toJS' in document) parsed.push(document.toJS())
  expect(parsed).toEqual(all)
})
