import type { ObjectRef } from '../kinds/registry.ts'

/** Something the author of an object should know; nothing that stops anything. */
export interface Remark {
  /**
   * `UnsupportedValue`: parts cannot be enforced and were left out as `message` says. `InvalidValue`: a value cannot be
   * read; the policy was made stricter for it. `NoEffect`: the object changes nothing. `NoAddress`: a service has none.
   */
  readonly reason: 'UnsupportedValue' | 'InvalidValue' | 'NoEffect' | 'NoAddress'
  readonly message: string
}

export interface PolicyReport extends Remark {
  readonly object: ObjectRef
}
