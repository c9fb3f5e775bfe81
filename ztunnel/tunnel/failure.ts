import { HboneError } from '../../shared/hbone/errors.ts'
import { AmbitError, codeOf, describeError } from '../../shared/runtime/errors.ts'
import type { Outcome, ResponseFlag } from '../../shared/telemetry/connection-record.ts'
import type { SpliceEnd } from './splice.ts'

/** A connection that could not be served, with the flag that metrics and logs give it. */
export class ConnectionFailure extends AmbitError {
  readonly flag: ResponseFlag

  constructor(code: string, flag: ResponseFlag, message: string, options?: ErrorOptions) {
    super(code, message, options)
    this.name = 'ConnectionFailure'
    this.flag = flag
  }
}

/** What closes a connection that a changed policy no longer allows. */
export class PolicyClose extends ConnectionFailure {
  readonly reason: string
  readonly policy: string | undefined

  constructor(reason: string, policy: string | undefined) {
    super('CONNECTION_POLICY_CHANGE', 'DENY', 'connection closed due to policy change')
    this.reason = reason
    this.policy = policy
  }
}

/** Ends connections that outlive the drain deadline, or whose pod is gone. */
export const drainClose = (): ConnectionFailure =>
  new ConnectionFailure('CONNECTION_DRAINED', '-', 'connection closed due to connection drain')

/** How a spliced connection ended, for telemetry. */
export function outcomeOfSplice(end: SpliceEnd): Outcome {
  return end.kind === 'complete' ? { flag: '-', error: undefined } : outcomeOf(end.error)
}

/** The texts are those that operators of ambient meshes search for (ztunnel spec, section 14.2). */
export function outcomeOf(error: unknown): Outcome {
  if (error instanceof PolicyClose) {
    return { flag: error.flag, error: error.message, policy: error.policy, reason: error.reason }
  }
  if (error instanceof ConnectionFailure) return { flag: error.flag, error: error.message }
  if (error instanceof HboneError) return { flag: flagOf(error), error: textOf(error) }
  const reason = codeOf(error)
  return {
    flag: 'CONNECT',
    error: describeError(error),
    ...(reason === undefined ? {} : { reason }),
  }
}

function flagOf(error: HboneError): ResponseFlag {
  return error.code === 'HBONE_PROTOCOL' ? 'H2_HANDSHAKE_FAILURE' : 'CONNECT'
}

function textOf(error: HboneError): string {
  return error.code === 'HBONE_STATUS' ? error.message : `h2 failed: ${describeError(error)}`
}
