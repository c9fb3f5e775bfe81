import { z } from 'zod'
import { clusterMetadata } from './metadata.ts'

export const Node = z.object({ kind: z.literal('Node'), metadata: clusterMetadata })
export type Node = z.infer<typeof Node>
