import { z } from 'zod'
import { parseIpAddress } from '../../shared/runtime/ip-address.ts'
import { parseIpBlock } from './ip-block.ts'

/** Field shapes that several kinds share. An absent field, an empty one and `null` mean the same in these objects. */

export const text = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined)

export const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false)

/** An optional part that is present even if empty: `{}` and absent differ. */
export const part = <T extends z.ZodType>(schema: T) =>
  schema.nullish().transform((value) => value ?? undefined)

export const list = <T extends z.ZodType>(schema: T) =>
  z
    .array(schema)
    .nullish()
    .transform((values) => values ?? [])

export const stringMap = z
  .record(z.string(), z.string())
  .nullish()
  .transform((values) => values ?? {})

export const portNumber = z.int().min(1).max(65_535)

/** Numbers by name; a value of zero is no port. */
export const portMap = z
  .record(z.string(), portNumber)
  .nullish()
  .transform((values) => values ?? {})

export const ipAddress = z
  .string()
  .refine((value) => parseIpAddress(value) !== undefined, { error: 'not an IP address' })

/** An address, or a range as `address/bits`. */
export const ipBlock = z
  .string()
  .refine((value) => parseIpBlock(value) !== undefined, { error: 'not an IP address or CIDR' })

const LABEL = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?'
const DNS_LABEL = new RegExp(`^${LABEL}$`)
const DNS_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`)

/** RFC 1123 label, as names of namespaces are. */
export const dnsLabel = z
  .string()
  .max(63)
  .refine((value) => DNS_LABEL.test(value), {
    error: 'must be lower-case letters, digits and "-", with a letter or digit at both ends',
  })

/** RFC 1123 subdomain, as names of objects are. */
export const dnsName = z.string().max(253).refine(isDnsName, {
  error: 'must be lower-case letters, digits, "-" and ".", with a letter or digit at both ends',
})

export function isDnsName(value: string): boolean {
  return value.length <= 253 && DNS_NAME.test(value)
}

/** Labels that all must be there. Strict, as an unknown field would select more than was meant. */
export const labelSelector = part(z.strictObject({ matchLabels: stringMap }))
