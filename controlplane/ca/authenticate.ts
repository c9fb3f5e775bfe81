import { type Metadata, status } from '@grpc/grpc-js'
import type { Log } from '../../shared/runtime/log.ts'
import { serviceError } from './service-error.ts'
import type { NodeTokens } from './tokens.ts'

/** Who called, proven: the agent of a node. */
export interface Caller {
  readonly node: string
}

/** Rejects with a gRPC `ServiceError` of code UNAUTHENTICATED. */
export type Authenticate = (metadata: Metadata) => Promise<Caller>

/** Told to the caller for whatever reason; the log has the details (controlplane spec, section 7.1). */
const REFUSAL = 'request authenticate failure'

const BEARER = /^Bearer +([\x21-\x7e]+)$/i

/** Authenticates calls by the bearer token in their metadata; for each service of the control plane. */
export function createAuthenticate(tokens: NodeTokens, log: Log): Authenticate {
  const refuse = (reason: string, text: string): never => {
    log.warn('call not authenticated', { reason, error: text })
    throw serviceError(status.UNAUTHENTICATED, REFUSAL)
  }
  return async (metadata) => {
    const values = metadata.get('authorization')
    const [value] = values
    if (value === undefined) return refuse('no-token', 'no authorization in the metadata')
    const token = BEARER.exec(value.toString())?.[1]
    if (values.length > 1 || token === undefined) {
      return refuse('malformed', 'the authorization is not one bearer token')
    }
    const verdict = await tokens.verify(token)
    if (verdict.kind === 'refused') return refuse(verdict.reason, verdict.text)
    return { node: verdict.node }
  }
}
