import { AmbitError } from '../runtime/errors.ts'

/**
 * - `HBONE_STATUS`: the peer answered CONNECT with something else than 200; `status` says with what.
 * - `HBONE_REFUSED_STREAM`: the peer is known not to have seen the request (RFC 9113 section 8.7), or has no room.
 * - `HBONE_CLOSED`: the connection under the tunnel is gone.
 * - `HBONE_TIMEOUT`: the caller's patience ended before the answer.
 * - `HBONE_RESET`: this one tunnel was reset, by the peer or by `cut`.
 * - `HBONE_PROTOCOL`: the peer does not speak HTTP/2 as it should.
 */
export type HboneErrorCode =
  | 'HBONE_STATUS'
  | 'HBONE_REFUSED_STREAM'
  | 'HBONE_CLOSED'
  | 'HBONE_TIMEOUT'
  | 'HBONE_RESET'
  | 'HBONE_PROTOCOL'

export interface HboneErrorOptions extends ErrorOptions {
  readonly status?: number
}

export class HboneError extends AmbitError {
  declare readonly code: HboneErrorCode
  /** The HTTP status of the answer; only with `HBONE_STATUS`. */
  readonly status: number | undefined

  constructor(code: HboneErrorCode, message: string, options: HboneErrorOptions = {}) {
    super(code, message, options)
    this.name = 'HboneError'
    this.status = options.status
  }
}
