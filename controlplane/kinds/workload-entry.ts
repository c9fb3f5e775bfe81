import { z } from 'zod'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import { isDnsName, part, portMap, stringMap, text } from './fields.ts'
import { namespacedMetadata } from './metadata.ts'

/** One endpoint outside the cluster: the body of a WorkloadEntry, and of a ServiceEntry's endpoints. */
export const endpointSpec = z.object({
  address: part(
    z
      .string()
      .refine((value) => value === '' || parseIpAddress(value) !== undefined || isDnsName(value), {
        error: 'neither an IP address nor a lower-case host name',
      }),
  ),
  ports: portMap,
  labels: stringMap,
  network: text,
  /** `region/zone/subzone`. */
  locality: text,
  weight: part(z.int().min(0).max(0xffff_ffff)),
  serviceAccount: text,
})
export type EndpointSpec = z.infer<typeof endpointSpec>

export const WorkloadEntry = z.object({
  kind: z.literal('WorkloadEntry'),
  metadata: namespacedMetadata,
  spec: endpointSpec,
})
export type WorkloadEntry = z.infer<typeof WorkloadEntry>
