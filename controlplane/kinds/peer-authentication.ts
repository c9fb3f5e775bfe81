import { z } from 'zod'
import { labelSelector, part } from './fields.ts'
import { namespacedMetadata } from './metadata.ts'

const mtls = part(
  z.strictObject({
    mode: z
      .enum(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'])
      .nullish()
      .transform((value) => value ?? 'UNSET'),
  }),
)

const PORT = /^[1-9]\d{0,4}$/

/** Unknown fields are refused here: a misspelt `mtls` would silently leave plaintext open. */
const spec = z
  .strictObject({
    selector: labelSelector,
    mtls,
    portLevelMtls: z
      .record(
        z.string().refine((value) => PORT.test(value) && Number(value) <= 65_535, {
          error: 'not a port number',
        }),
        mtls,
      )
      .nullish()
      .transform((value) => value ?? {}),
  })
  .superRefine((spec, context) => {
    const labels = Object.keys(spec.selector?.matchLabels ?? {})
    if (Object.keys(spec.portLevelMtls).length > 0 && labels.length === 0) {
      const message = 'only together with a selector that names labels'
      context.addIssue({ code: 'custom', path: ['portLevelMtls'], message })
    }
  })

export const PeerAuthentication = z.object({
  kind: z.literal('PeerAuthentication'),
  metadata: namespacedMetadata,
  spec: spec
    .nullish()
    .transform((value) => value ?? { selector: undefined, mtls: undefined, portLevelMtls: {} }),
})
export type PeerAuthentication = z.infer<typeof PeerAuthentication>
