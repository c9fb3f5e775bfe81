import type { Endpoint, Service, ServiceKey, Workload } from '../../shared/mesh/model.ts'

/** What routing asks the mesh; `MeshStore` answers it. Addresses are canonical text. */
export interface MeshView {
  workloadByAddress(network: string, address: string): Workload | undefined
  serviceByAddress(network: string, address: string, clientNamespace: string): Service | undefined
  /** Whether somebody of the mesh is at the address of whom nothing usable is known. */
  isRefused(network: string, address: string): boolean
  serviceByHostname(hostname: string, clientNamespace: string): Service | undefined
  serviceByKey(key: ServiceKey): Service | undefined
  endpointsOf(service: Service): readonly Endpoint[]
}
