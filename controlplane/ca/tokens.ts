import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
} from 'node:crypto'
import { join } from 'node:path'
import { errors, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../../shared/runtime/clock.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { createFile, openPrivateDir, readPrivateFile } from './private-files.ts'

/** What a token is for; a token with another audience opens nothing here. */
export const NODE_TOKEN_AUDIENCE = 'ambit-ca'

const ISSUER = 'ambit'
const KEY_FILE = 'token-key.pem'
const MAX_LENGTH = 8_192
const MAX_TTL_SECONDS = 366 * 24 * 3_600
const CLOCK_TOLERANCE_SECONDS = 5

/** A Kubernetes node name: a DNS subdomain. */
const NODE_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/

export interface NodeTokenRequest {
  readonly node: string
  readonly ttlSeconds: number
  readonly audience?: string
}

export type TokenFault =
  | 'expired'
  | 'wrong-audience'
  | 'wrong-issuer'
  | 'bad-signature'
  | 'malformed'

export type TokenVerdict =
  | { readonly kind: 'accepted'; readonly node: string }
  | { readonly kind: 'refused'; readonly reason: TokenFault; readonly text: string }

/** Bootstrap tokens: a signed statement (JWT, ES256) that its holder is the agent of one node. */
export class NodeTokens {
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject
  readonly #clock: Clock

  /** Loads the signing key of the state directory, or makes it. Throws `TOKEN_KEY`, `SECRET_FILE`, `STATE_DIR`, `STATE_FILE`. */
  static open(stateDir: string, clock: Clock): NodeTokens {
    openPrivateDir(stateDir)
    const path = join(stateDir, KEY_FILE)
    const pem = readPrivateFile(path) ?? createFile(path, newKey(), 0o600)
    return new NodeTokens(readKey(path, pem), clock)
  }

  private constructor(privateKey: KeyObject, clock: Clock) {
    this.#privateKey = privateKey
    this.#publicKey = createPublicKey(privateKey)
    this.#clock = clock
  }

  /** Throws `TOKEN_REQUEST` for what is not a node's name or a lifetime between a second and a year. */
  async create(request: NodeTokenRequest): Promise<string> {
    const { node, ttlSeconds, audience = NODE_TOKEN_AUDIENCE } = request
    if (!NODE_NAME.test(node)) {
      throw new AmbitError('TOKEN_REQUEST', `not a node name: ${JSON.stringify(node)}`)
    }
    if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
      throw new AmbitError('TOKEN_REQUEST', `not a lifetime of 1 second to 366 days: ${ttlSeconds}`)
    }
    const now = Math.floor(this.#clock.wallMs() / 1000)
    return await new SignJWT({ node })
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT' })
      .setIssuer(ISSUER)
      .setAudience(audience)
      .setSubject(`node:${node}`)
      .setIssuedAt(now)
      .setExpirationTime(now + ttlSeconds)
      .setJti(randomUUID())
      .sign(this.#privateKey)
  }

  /** Never rejects for what is in the token. */
  async verify(token: string): Promise<TokenVerdict> {
    if (token.length > MAX_LENGTH) return refused('malformed', 'the token is too long')
    try {
      const { payload } = await jwtVerify(token, this.#publicKey, {
        algorithms: ['ES256'],
        issuer: ISSUER,
        audience: NODE_TOKEN_AUDIENCE,
        requiredClaims: ['exp', 'iat', 'sub'],
        currentDate: new Date(this.#clock.wallMs()),
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
      })
      const node = payload['node']
      if (typeof node !== 'string' || !NODE_NAME.test(node) || payload.sub !== `node:${node}`) {
        return refused('malformed', 'the token names no node')
      }
      return { kind: 'accepted', node }
    } catch (error) {
      return refusedBy(error)
    }
  }
}

function refusedBy(error: unknown): TokenVerdict {
  if (error instanceof errors.JWTExpired) {
    const end = error.payload.exp
    const when = end === undefined ? '' : ` at ${new Date(end * 1000).toISOString()}`
    return refused('expired', `the token expired${when}`)
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') {
      return refused('wrong-audience', `the token is not for ${NODE_TOKEN_AUDIENCE}`)
    }
    if (error.claim === 'iss') {
      return refused('wrong-issuer', `the token was not issued by ${ISSUER}`)
    }
    return refused('malformed', `the claim ${error.claim} of the token is wrong or missing`)
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return refused('bad-signature', 'the token was signed by another key')
  }
  if (error instanceof errors.JOSEError) return refused('malformed', error.message)
  throw error
}

const refused = (reason: TokenFault, text: string): TokenVerdict => ({
  kind: 'refused',
  reason,
  text,
})

const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString()

function readKey(path: string, pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
  } catch (error) {
    throw new AmbitError('TOKEN_KEY', `${path} is not a private key in PEM`, { cause: error })
  }
  throw new AmbitError('TOKEN_KEY', `${path} is not a key of the curve P-256`)
}
