import { z } from 'zod'
import { dnsLabel } from './fields.ts'
import { clusterMetadata } from './metadata.ts'

export const Namespace = z.object({
  kind: z.literal('Namespace'),
  metadata: clusterMetadata.extend({ name: dnsLabel }),
})
export type Namespace = z.infer<typeof Namespace>
