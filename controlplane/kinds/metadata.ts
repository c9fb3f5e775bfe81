import { z } from 'zod'
import { dnsLabel, dnsName, flag, list, stringMap, text } from './fields.ts'

/** Milliseconds since the epoch. */
const timestamp = z.iso
  .datetime({ offset: true })
  .nullish()
  .transform((value) => (value === null || value === undefined ? undefined : Date.parse(value)))

const ownerReference = z.object({ kind: z.string(), name: z.string(), controller: flag })

const common = {
  name: dnsName,
  labels: stringMap,
  annotations: stringMap,
  uid: text,
  generateName: text,
  /** Optional: where the oldest object wins, one without a date is the youngest. */
  creationTimestamp: timestamp,
  deletionTimestamp: timestamp,
  ownerReferences: list(ownerReference),
}

/** Objects without a namespace belong to `default`, as with `kubectl apply`. */
export const namespacedMetadata = z.object({
  ...common,
  namespace: dnsLabel
    .nullish()
    .or(z.literal(''))
    .transform((value) =>
      value === undefined || value === null || value === '' ? 'default' : value,
    ),
})

/** Objects that belong to no namespace. */
export const clusterMetadata = z.object({
  ...common,
  namespace: z
    .string()
    .nullish()
    .transform((): '' => ''),
})
