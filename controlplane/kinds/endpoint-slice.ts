import { z } from 'zod'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import { list, part, portNumber, text } from './fields.ts'
import { namespacedMetadata } from './metadata.ts'

const endpoint = z.object({
  addresses: z.array(z.string()).min(1).max(100),
  conditions: part(z.object({ ready: part(z.boolean()) })),
  targetRef: part(z.object({ kind: text, namespace: text, name: text, uid: text })),
})

/** A slice port without a number means all ports; such a port carries nothing for us. */
const slicePort = z.object({
  name: text,
  port: part(portNumber),
  protocol: z
    .enum(['TCP', 'UDP', 'SCTP'])
    .nullish()
    .transform((value) => value ?? 'TCP'),
})

export const EndpointSlice = z
  .object({
    kind: z.literal('EndpointSlice'),
    metadata: namespacedMetadata,
    addressType: z.enum(['IPv4', 'IPv6', 'FQDN']),
    endpoints: list(endpoint),
    ports: list(slicePort),
  })
  .superRefine((slice, context) => {
    if (slice.addressType === 'FQDN') return
    for (const [index, { addresses }] of slice.endpoints.entries()) {
      for (const [at, address] of addresses.entries()) {
        if (parseIpAddress(address) !== undefined) continue
        const path = ['endpoints', index, 'addresses', at]
        context.addIssue({ code: 'custom', path, message: 'not an IP address' })
      }
    }
  })
export type EndpointSlice = z.infer<typeof EndpointSlice>
