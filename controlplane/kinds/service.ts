import { z } from 'zod'
import { flag, ipAddress, list, part, portNumber, stringMap, text } from './fields.ts'
import { namespacedMetadata } from './metadata.ts'

const servicePort = z.object({
  name: text,
  port: portNumber,
  targetPort: part(z.union([z.int().min(0).max(65_535), z.string()])),
  protocol: z
    .enum(['TCP', 'UDP', 'SCTP'])
    .nullish()
    .transform((value) => value ?? 'TCP'),
  appProtocol: text,
})

const clusterIp = z.union([z.literal(['', 'None']), ipAddress])

const spec = z.object({
  type: z
    .enum(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'])
    .nullish()
    .transform((value) => value ?? 'ClusterIP'),
  selector: stringMap,
  clusterIP: part(clusterIp),
  clusterIPs: list(clusterIp),
  ports: list(servicePort).superRefine((ports, context) => {
    const names = new Set<string>()
    for (const [index, port] of ports.entries()) {
      const name = port.name ?? ''
      if (ports.length > 1 && name === '') {
        context.addIssue({
          code: 'custom',
          path: [index, 'name'],
          message: 'required with two ports or more',
        })
      } else if (names.has(name)) {
        context.addIssue({ code: 'custom', path: [index, 'name'], message: 'used twice' })
      }
      names.add(name)
    }
  }),
  ipFamilies: list(z.enum(['IPv4', 'IPv6'])),
  internalTrafficPolicy: part(z.enum(['Cluster', 'Local'])),
  trafficDistribution: text,
  publishNotReadyAddresses: flag,
})

export const Service = z.object({
  kind: z.literal('Service'),
  metadata: namespacedMetadata,
  spec,
})
export type Service = z.infer<typeof Service>
