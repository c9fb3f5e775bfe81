import { expect, test } from 'vitest'
import { TunnelProtocol } from '../proto/generated/workload.ts'
import { MeshStore } from './store.ts'
import { serviceResource, workloadResource } from './testing-mesh.ts'

const address = Buffer.from([10, 0, 0, 1])
const isRefused = (mesh: MeshStore): boolean => mesh.isRefused('', '10.0.0.1')

test('the address of a refused workload is remembered until it is mended or removed', () => {
  const mesh = new MeshStore()
  const bad = workloadResource({
    uid: 'a',
    addresses: [address],
    tunnelProtocol: TunnelProtocol.LEGACY_ISTIO_MTLS,
  })
  expect(mesh.applyAddresses([bad], [])).toHaveLength(1)
  expect(isRefused(mesh)).toBe(true)
  expect(mesh.isRefused('', '10.0.0.2')).toBe(false)
  expect(mesh.applyAddresses([workloadResource({ uid: 'a', addresses: [address] })], [])).toEqual(
    [],
  )
  expect(isRefused(mesh)).toBe(false)
  mesh.applyAddresses([bad], [])
  mesh.applyAddresses([], ['a'])
  expect(isRefused(mesh)).toBe(false)
})

test('the address of a refused service is remembered too', () => {
  const mesh = new MeshStore()
  const bad = serviceResource({
    name: 'a',
    namespace: 'default',
    hostname: 'a.default.svc.cluster.local',
    addresses: [{ network: '', address, length: undefined }],
    ports: [{ servicePort: 70_000, targetPort: 80, appProtocol: 0 }],
  })
  expect(mesh.applyAddresses([bad], [])).toHaveLength(1)
  expect(isRefused(mesh)).toBe(true)
})
