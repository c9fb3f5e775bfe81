import { z } from 'zod'
import { namespacedMetadata } from './metadata.ts'

export const ServiceAccount = z.object({
  kind: z.literal('ServiceAccount'),
  metadata: namespacedMetadata,
})
export type ServiceAccount = z.infer<typeof ServiceAccount>
