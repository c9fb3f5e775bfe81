import type { KeyObject } from 'node:crypto'
import {
  type Metadata,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { parseCsr } from '../../shared/identity/csr.ts'
import { parseSpiffeId, type SpiffeId } from '../../shared/identity/spiffe.ts'
import type {
  IstioCertificateRequest,
  IstioCertificateResponse,
  IstioCertificateServiceServer,
} from '../../shared/proto/generated/citadel.ts'
import { AmbitError, describeError } from '../../shared/runtime/errors.ts'
import type { Log } from '../../shared/runtime/log.ts'
import type { Authenticate, Caller } from './authenticate.ts'
import type { Authority } from './authority.ts'
import { serviceError } from './service-error.ts'

export interface CertificateServiceOptions {
  readonly authority: Pick<Authority, 'issueWorkload'>
  readonly authenticate: Authenticate
  /** Whether a pod that has not finished runs under this identity on the node. */
  readonly isLocalIdentity: (node: string, identity: SpiffeId) => boolean
  readonly trustDomain: string
  /** For requests that ask for none; 24 hours unless given. */
  readonly defaultTtlSeconds?: number
  readonly log: Log
}

const DEFAULT_TTL_SECONDS = 24 * 3_600
const MAX_TTL_SECONDS = 90 * 24 * 3_600
const MAX_CSR_LENGTH = 16 * 1024
const IMPERSONATION_REFUSAL = 'request impersonation authentication failure'

/**
 * `istio.v1.auth.IstioCertificateService` (controlplane spec, sections 7.1, 7.2 and 7.4): the agent of a node gets
 * certificates for the identities that run on its node, and for no others.
 */
export const createCertificateService = (
  options: CertificateServiceOptions,
): IstioCertificateServiceServer => ({
  createCertificate: (call, callback) => void reply(options, call, callback),
})

async function reply(
  options: CertificateServiceOptions,
  call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
  callback: sendUnaryData<IstioCertificateResponse>,
): Promise<void> {
  let response: IstioCertificateResponse
  try {
    response = await createCertificate(options, call.metadata, call.request)
  } catch (error) {
    callback(toServiceError(error, options.log))
    return
  }
  callback(null, response)
}

/** The answer is `[leaf, intermediates..., roots]`. Rejects with a gRPC `ServiceError`. */
async function createCertificate(
  options: CertificateServiceOptions,
  metadata: Metadata,
  request: IstioCertificateRequest,
): Promise<IstioCertificateResponse> {
  const caller = await options.authenticate(metadata)
  const identity = impersonated(options, caller, request.metadata)
  const ttlSeconds = ttlOf(request, options.defaultTtlSeconds ?? DEFAULT_TTL_SECONDS)
  const publicKey = keyOf(request.csr, caller, options.log)
  const issued = options.authority.issueWorkload(publicKey, identity, ttlSeconds * 1000)
  options.log.info('certificate signed', {
    node: caller.node,
    identity: identity.text,
    ttl_seconds: ttlSeconds,
  })
  return { certChain: [issued.leaf, ...issued.intermediates, issued.roots] }
}

/** The identity asked for, if the caller may have it. Why not is for the log only. */
function impersonated(
  { trustDomain, isLocalIdentity, log }: CertificateServiceOptions,
  caller: Caller,
  metadata: Readonly<Record<string, unknown>> | undefined,
): SpiffeId {
  const refuse = (error: string): never => {
    log.warn('identity not granted', { node: caller.node, error })
    throw serviceError(status.UNAUTHENTICATED, IMPERSONATION_REFUSAL)
  }
  const asked: unknown =
    metadata !== undefined && Object.hasOwn(metadata, 'ImpersonatedIdentity')
      ? metadata['ImpersonatedIdentity']
      : undefined
  if (typeof asked !== 'string') return refuse('the request names no ImpersonatedIdentity')
  const identity = parseSpiffeId(asked)
  if (identity === undefined) {
    return refuse(`not the SPIFFE id of a workload: ${JSON.stringify(asked.slice(0, 256))}`)
  }
  if (identity.trustDomain !== trustDomain) {
    return refuse(`${identity.text} is not of the trust domain ${trustDomain}`)
  }
  if (!isLocalIdentity(caller.node, identity)) {
    return refuse(`no running pod of the node has the identity ${identity.text}`)
  }
  return identity
}

function ttlOf({ validityDuration }: IstioCertificateRequest, fallback: number): number {
  if (validityDuration <= 0) return fallback
  if (validityDuration <= MAX_TTL_SECONDS) return validityDuration
  throw serviceError(
    status.INVALID_ARGUMENT,
    `a validity of ${validityDuration} s is more than the ${MAX_TTL_SECONDS} s allowed`,
  )
}

function keyOf(csr: string, caller: Caller, log: Log): KeyObject {
  if (csr.length > MAX_CSR_LENGTH) {
    throw serviceError(status.INVALID_ARGUMENT, `the CSR is longer than ${MAX_CSR_LENGTH} bytes`)
  }
  try {
    return parseCsr(csr)
  } catch (error) {
    if (!(error instanceof AmbitError)) throw error
    log.warn('CSR refused', { node: caller.node, error: describeError(error) })
    throw serviceError(status.INVALID_ARGUMENT, error.message)
  }
}

/** A bug tells the caller nothing, and the log all. */
function toServiceError(error: unknown, log: Log): ServiceError {
  if (isServiceError(error)) return error
  log.error('certificate service failed', {
    error: describeError(error),
    stack: error instanceof Error ? error.stack : undefined,
  })
  return serviceError(status.INTERNAL, 'internal error')
}

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && 'details' in error && 'code' in error && typeof error.code === 'number'
