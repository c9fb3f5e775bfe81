import { z } from 'zod'
import { dnsName, flag, ipAddress, list, part, portNumber, text } from './fields.ts'
import { namespacedMetadata } from './metadata.ts'

const containerPort = z.object({
  name: text,
  containerPort: portNumber,
  protocol: z
    .enum(['TCP', 'UDP', 'SCTP'])
    .nullish()
    .transform((value) => value ?? 'TCP'),
})

const container = z.object({ name: text, ports: list(containerPort) })

const spec = z.object({
  nodeName: text,
  serviceAccountName: dnsName
    .or(z.literal(''))
    .nullish()
    .transform((value) => (value ? value : 'default')),
  hostNetwork: flag,
  containers: list(container),
  initContainers: list(container.extend({ restartPolicy: text })),
})

const status = z.object({
  phase: part(z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'])),
  podIP: part(ipAddress.or(z.literal(''))),
  podIPs: list(z.object({ ip: ipAddress })),
  conditions: list(z.object({ type: z.string(), status: z.string() })),
})

export const Pod = z.object({
  kind: z.literal('Pod'),
  metadata: namespacedMetadata,
  spec,
  status: part(status),
})
export type Pod = z.infer<typeof Pod>
