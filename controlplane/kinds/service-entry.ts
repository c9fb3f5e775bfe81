import { z } from 'zod'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import {
  dnsName,
  ipAddress,
  ipBlock,
  isDnsName,
  list,
  part,
  portNumber,
  stringMap,
} from './fields.ts'
import { namespacedMetadata } from './metadata.ts'
import { endpointSpec } from './workload-entry.ts'

/** A host name, or one with `*` as its first label. */
const host = z
  .string()
  .refine((value) => isDnsName(value.startsWith('*.') ? value.slice(2) : value), {
    error: 'not a lower-case host name, nor "*." before one',
  })

const servicePort = z.object({
  number: portNumber,
  name: z.string().min(1),
  protocol: part(z.string()),
  /** Zero, as Istio prints it, means unset. */
  targetPort: part(z.int().min(0).max(65_535)),
})

const spec = z
  .object({
    hosts: z.array(host).min(1).max(256),
    addresses: list(ipBlock),
    ports: list(servicePort),
    location: part(z.enum(['MESH_EXTERNAL', 'MESH_INTERNAL'])),
    resolution: z
      .enum(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'])
      .nullish()
      .transform((value) => value ?? 'NONE'),
    endpoints: list(endpointSpec),
    workloadSelector: part(z.object({ labels: stringMap })),
    subjectAltNames: list(z.string()),
  })
  .superRefine((spec, context) => {
    const issue = (path: (string | number)[], message: string): void =>
      context.addIssue({ code: 'custom', path, message })
    if (spec.workloadSelector !== undefined && spec.endpoints.length > 0) {
      issue(['workloadSelector'], 'not together with endpoints')
    }
    const hosts = new Set<string>()
    for (const [index, name] of spec.hosts.entries()) {
      if (hosts.has(name)) issue(['hosts', index], 'named twice')
      hosts.add(name)
    }
    const ports = { number: new Set<unknown>(), name: new Set<unknown>() }
    for (const [index, port] of spec.ports.entries()) {
      for (const field of ['number', 'name'] as const) {
        if (ports[field].has(port[field])) issue(['ports', index, field], 'used twice')
        ports[field].add(port[field])
      }
    }
    for (const [index, { address }] of spec.endpoints.entries()) {
      if (address === undefined || address === '') {
        issue(['endpoints', index, 'address'], 'required')
      } else if (spec.resolution === 'STATIC' && parseIpAddress(address) === undefined) {
        issue(['endpoints', index, 'address'], 'must be an IP address with resolution STATIC')
      } else if (spec.resolution === 'NONE') {
        issue(['endpoints', index], 'no endpoints with resolution NONE')
      }
    }
  })

const status = z.object({
  addresses: list(z.object({ host: dnsName.or(host), value: ipAddress })),
})

export const ServiceEntry = z.object({
  kind: z.literal('ServiceEntry'),
  metadata: namespacedMetadata,
  spec,
  status: part(status),
})
export type ServiceEntry = z.infer<typeof ServiceEntry>
