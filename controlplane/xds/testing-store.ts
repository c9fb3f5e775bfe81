import { Address } from '../../shared/proto/generated/workload.ts'
import { ADDRESS_TYPE, type Resource } from '../compile/resource.ts'
import { ResourceStore } from './resource-store.ts'

/** For tests: a workload in `services`, reached by `aliases` too. */
export const testPod = (
  uid: string,
  given: {
    readonly version?: string
    readonly aliases?: readonly string[]
    readonly services?: readonly string[]
    readonly node?: string
  } = {},
): Resource => ({
  typeUrl: ADDRESS_TYPE,
  name: uid,
  version: given.version ?? 'v1',
  aliases: given.aliases ?? [],
  body: Address.encode(
    Address.fromPartial({
      type: {
        $case: 'workload',
        value: {
          uid,
          node: given.node ?? '',
          services: Object.fromEntries((given.services ?? []).map((key) => [key, { ports: [] }])),
        },
      },
    }),
  ).finish(),
})

/** For tests: a service, reached by `aliases` too. */
export const testService = (
  key: string,
  given: { readonly version?: string; readonly aliases?: readonly string[] } = {},
): Resource => ({
  typeUrl: ADDRESS_TYPE,
  name: key,
  version: given.version ?? 'v1',
  aliases: given.aliases ?? [],
  body: Address.encode(
    Address.fromPartial({ type: { $case: 'service', value: { hostname: key } } }),
  ).finish(),
})

/** For tests: a store with these resources. */
export function testStore(...resources: readonly Resource[]): ResourceStore {
  const store = new ResourceStore()
  store.apply({ changed: resources, removed: [] })
  return store
}
