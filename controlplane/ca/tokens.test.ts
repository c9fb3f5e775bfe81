import { createPrivateKey } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Metadata, status } from '@grpc/grpc-js'
import { decodeJwt, SignJWT, UnsecuredJWT } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FakeClock } from '../../shared/runtime/clock.ts'
import { createLog, silentLog } from '../../shared/runtime/log.ts'
import { createToken } from '../commands/token.ts'
import { createAuthenticate } from './authenticate.ts'
import { NodeTokens, type TokenFault } from './tokens.ts'

let stateDir: string
let otherDir: string
let clock: FakeClock
let tokens: NodeTokens

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'ambit-tokens-'))
  otherDir = mkdtempSync(join(tmpdir(), 'ambit-tokens-'))
  clock = new FakeClock(Date.UTC(2026, 5, 1))
  tokens = NodeTokens.open(stateDir, clock)
})
afterEach(() => {
  rmSync(stateDir, { recursive: true })
  rmSync(otherDir, { recursive: true })
})

const request = { node: 'node-1', ttlSeconds: 3_600 }
const coded = (code: string) => expect.objectContaining({ code })

/** Any claims, signed with the right key. */
async function signed(claims: Record<string, unknown>, alg = 'ES256'): Promise<string> {
  const key = createPrivateKey(readFileSync(join(stateDir, 'token-key.pem'), 'utf8'))
  return await new SignJWT(claims).setProtectedHeader({ alg }).sign(key)
}

const claims = (): Record<string, unknown> => decodeTemplate(clock.wallMs() / 1000)
const decodeTemplate = (now: number): Record<string, unknown> => ({
  iss: 'ambit',
  aud: 'ambit-ca',
  sub: 'node:node-1',
  node: 'node-1',
  iat: now,
  exp: now + 3_600,
})

describe('NodeTokens', () => {
  test('accepts what it made, also after a restart, and says whose it is', async () => {
    const token = await tokens.create(request)
    expect(decodeJwt(token)).toMatchObject(claims())
    const again = NodeTokens.open(stateDir, clock)
    expect(await again.verify(token)).toEqual({ kind: 'accepted', node: 'node-1' })
    expect(statSync(join(stateDir, 'token-key.pem')).mode & 0o777).toBe(0o600)
  })

  test('the signed template of these tests is itself good', async () => {
    expect((await tokens.verify(await signed(claims()))).kind).toBe('accepted')
  })

  test.for<[string, TokenFault, () => Promise<string> | string]>([
    [
      'has expired',
      'expired',
      async () => {
        const token = await tokens.create(request)
        clock.advance(3_606_000)
        return token
      },
    ],
    [
      'is for another audience',
      'wrong-audience',
      () => tokens.create({ ...request, audience: 'other' }),
    ],
    ['has no audience', 'wrong-audience', () => signed({ ...claims(), aud: undefined })],
    ['is of another issuer', 'wrong-issuer', () => signed({ ...claims(), iss: 'somebody' })],
    [
      'is signed by another key',
      'bad-signature',
      () => NodeTokens.open(otherDir, clock).create(request),
    ],
    [
      'was changed',
      'bad-signature',
      async () => {
        const [head, , signature] = (await tokens.create(request)).split('.')
        const body = Buffer.from(JSON.stringify({ ...claims(), node: 'node-2' })).toString(
          'base64url',
        )
        return `${head}.${body}.${signature}`
      },
    ],
    ['is not signed', 'malformed', () => new UnsecuredJWT(claims()).encode()],
    ['never expires', 'malformed', () => signed({ ...claims(), exp: undefined })],
    ['names no node', 'malformed', () => signed({ ...claims(), node: undefined })],
    ['names a node of another kind', 'malformed', () => signed({ ...claims(), node: 7 })],
    ['names two nodes', 'malformed', () => signed({ ...claims(), node: 'node-2' })],
    [
      'is not valid yet',
      'malformed',
      () => signed({ ...claims(), nbf: clock.wallMs() / 1000 + 60 }),
    ],
    ['is no token', 'malformed', () => 'a.b.c'],
    ['is empty', 'malformed', () => ''],
    ['is too long', 'malformed', () => 'x'.repeat(10_000)],
  ])('refuses a token that %s', async ([, reason, make]) => {
    expect(await tokens.verify(await make())).toMatchObject({ kind: 'refused', reason })
  })

  test.for([
    { node: '', ttlSeconds: 60 },
    { node: 'Node', ttlSeconds: 60 },
    { node: 'a/b', ttlSeconds: 60 },
    { node: 'a'.repeat(254), ttlSeconds: 60 },
    { node: 'node-1', ttlSeconds: 0 },
    { node: 'node-1', ttlSeconds: 1.5 },
    { node: 'node-1', ttlSeconds: 40_000_000 },
  ])('makes no token for %j', async (bad) => {
    await expect(tokens.create(bad)).rejects.toEqual(coded('TOKEN_REQUEST'))
  })

  test('refuses a key that others can read, or that is none', () => {
    const path = join(stateDir, 'token-key.pem')
    chmodSync(path, 0o644)
    expect(() => NodeTokens.open(stateDir, clock)).toThrow(coded('SECRET_FILE'))
    chmodSync(path, 0o600)
    writeFileSync(path, 'x')
    expect(() => NodeTokens.open(stateDir, clock)).toThrow(coded('TOKEN_KEY'))
  })

  test('createToken works on the state directory, before a control plane did', async () => {
    const token = await createToken({ stateDir: otherDir, node: 'node-9', ttlSeconds: 60 })
    const verdict = await NodeTokens.open(otherDir, new FakeClock(Date.now())).verify(token)
    expect(verdict).toEqual({ kind: 'accepted', node: 'node-9' })
  })
})

describe('authenticate', () => {
  const metadataOf = (...values: string[]): Metadata => {
    const metadata = new Metadata()
    for (const value of values) metadata.add('authorization', value)
    return metadata
  }

  test('tells the node that calls', async () => {
    const authenticate = createAuthenticate(tokens, silentLog)
    const metadata = metadataOf(`Bearer ${await tokens.create(request)}`)
    expect(await authenticate(metadata)).toEqual({ node: 'node-1' })
  })

  test.for<[string, string, () => Promise<string[]>]>([
    ['no token', 'no-token', async () => []],
    ['another scheme', 'malformed', async () => ['Basic abc']],
    ['an empty token', 'malformed', async () => ['Bearer ']],
    [
      'two tokens',
      'malformed',
      async () => {
        const value = `Bearer ${await tokens.create(request)}`
        return [value, value]
      },
    ],
    [
      'a token for something else',
      'wrong-audience',
      async () => [`Bearer ${await tokens.create({ ...request, audience: 'x' })}`],
    ],
  ])('refuses %s, with the reason in the log and not in the answer', async ([, reason, values]) => {
    const lines: string[] = []
    const log = createLog({ level: 'info', format: 'json', write: (line) => lines.push(line) })
    const refusal = createAuthenticate(tokens, log)(metadataOf(...(await values())))
    await expect(refusal).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
      details: 'request authenticate failure',
    })
    expect(lines.join('')).toContain(`"reason":"${reason}"`)
    expect(lines.join('')).not.toMatch(/eyJ/)
  })
})
