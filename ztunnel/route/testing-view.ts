import type { Service, Workload } from '../../shared/mesh/model.ts'
import type { MeshView } from './mesh-view.ts'

/** For tests: a mesh of exactly these, without the ranking rules of the store. */
export function viewOf(
  workloads: readonly Workload[],
  services: readonly Service[] = [],
): MeshView {
  return {
    workloadByAddress: (network, address) =>
      workloads.find((one) => one.network === network && one.addresses.includes(address)),
    serviceByAddress: (network, address) =>
      services.find((one) =>
        one.addresses.some((vip) => vip.network === network && vip.address === address),
      ),
    isRefused: () => false,
    serviceByHostname: (hostname) => services.find((one) => one.hostname === hostname),
    serviceByKey: (key) => services.find((one) => one.key === key),
    endpointsOf: (service) =>
      workloads.flatMap((workload) => {
        const ports = workload.services.get(service.key)
        return ports === undefined ? [] : [{ workload, ports }]
      }),
  }
}
