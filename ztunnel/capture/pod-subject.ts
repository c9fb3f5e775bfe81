import type { NetworkNamespace } from '../../shared/linux/namespace.ts'

/** The pod that the control plane wants captured, and the namespace that was found for it. */
export interface PodSubject {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly trustDomain: string
  readonly netns: NetworkNamespace
}
