/** Type URLs of the workload API (controlplane spec, section 0.1). */
export const ADDRESS_TYPE = 'type.googleapis.com/istio.workload.Address'
export const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization'

/** One compiled resource, ready to be sent as it is to any number of clients. */
export interface Resource {
  readonly typeUrl: string
  readonly name: string
  /** Hash of `body`: the same content has the same version in every process. */
  readonly version: string
  /** The other names that on-demand clients may ask for. */
  readonly aliases: readonly string[]
  /** The encoded message, as it goes into `Any.value`. */
  readonly body: Uint8Array
}

/** What a change of the objects changed in the resources. */
export interface ResourceDelta {
  readonly changed: readonly Resource[]
  readonly removed: readonly { readonly typeUrl: string; readonly name: string }[]
}
