import type { Topology } from './topology.ts'

/** No proxy: what the machine, the programs and the links can do. */
export const direct: Topology = {
  name: 'direct',
  about: 'no proxy, two nodes',
  family: 'direct',
  encrypted: false,
  inQuick: true,
  scope: 'all-workloads',
  descriptorsPerConnection: 1,
  bothEndsInOneProcess: false,
  start: async (site) => {
    const client = await site.plainPod('direct-client', 0)
    const server = await site.plainPod('direct-server', 1)
    return { client, server, host: () => server.address4, proxies: [], hops: [], logs: [] }
  },
}
