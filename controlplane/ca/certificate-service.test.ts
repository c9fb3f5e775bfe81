import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CaClient } from '../../shared/identity/ca-client.ts'
import { parseCertificates } from '../../shared/identity/certificate.ts'
import { CertificateManager } from '../../shared/identity/certificate-manager.ts'
import { createKeyAndCsr } from '../../shared/identity/csr.ts'
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateServiceClient,
  IstioCertificateServiceService,
} from '../../shared/proto/generated/citadel.ts'
import { systemClock } from '../../shared/runtime/clock.ts'
import { createLog, silentLog } from '../../shared/runtime/log.ts'
import { createAuthenticate } from './authenticate.ts'
import { Authority } from './authority.ts'
import { createCertificateService } from './certificate-service.ts'
import { NodeTokens } from './tokens.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'
const DAY_SECONDS = 24 * 3_600

let stateDir: string
let server: Server
let port: number
let authority: Authority
let tokens: NodeTokens
let client: IstioCertificateServiceClient
let lines: string[]
/** What runs where: `node namespace/account`. */
let running: Set<string>
/** Makes the question fail. */
let broken: boolean

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'ambit-service-'))
  authority = Authority.open({ stateDir, trustDomain: 'cluster.local', clock: systemClock })
  tokens = NodeTokens.open(stateDir, systemClock)
  running = new Set(['node-1 shop/orders', 'node-2 shop/payments'])
  lines = []
  broken = false
  const log = createLog({ level: 'info', format: 'json', write: (line) => lines.push(line) })
  server = new Server()
  server.addService(
    IstioCertificateServiceService,
    createCertificateService({
      authority,
      authenticate: createAuthenticate(tokens, log),
      isLocalIdentity: (node, id) => {
        if (broken) throw new Error('a bug with details')
        return running.has(`${node} ${id.namespace}/${id.serviceAccount}`)
      },
      trustDomain: 'cluster.local',
      log,
    }),
  )
  const own = authority.issueServer({ dns: ['localhost'], ips: ['127.0.0.1'] })
  const pair = { private_key: Buffer.from(own.keyPem), cert_chain: Buffer.from(own.chainPem) }
  port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createSsl(null, [pair]), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  const trusted = credentials.createSsl(Buffer.from(authority.rootsPem))
  client = new IstioCertificateServiceClient(`localhost:${port}`, trusted)
})
afterEach(() => {
  client.close()
  server.forceShutdown()
  rmSync(stateDir, { recursive: true })
})

const tokenFor = (node: string): Promise<string> => tokens.create({ node, ttlSeconds: 60 })

const request = (special: Partial<IstioCertificateRequest> = {}): IstioCertificateRequest => ({
  csr: createKeyAndCsr(ID).csrPem,
  validityDuration: 3_600,
  metadata: { ImpersonatedIdentity: ID },
  ...special,
})

async function call(
  asked: IstioCertificateRequest,
  token: string | undefined,
): Promise<IstioCertificateResponse> {
  const metadata = new Metadata()
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`)
  return await new Promise((resolve, reject) => {
    client.createCertificate(
      asked,
      metadata,
      { deadline: Date.now() + 5_000 },
      (error, response) => (error === null ? resolve(response) : reject(error)),
    )
  })
}

const refusal = async (asked: IstioCertificateRequest, token?: string): Promise<ServiceError> =>
  await call(asked, token).then(
    () => {
      throw new Error('granted')
    },
    (error: ServiceError) => error,
  )

/** Lifetime from now in seconds, to the nearest ten. */
async function lifetimeFor(validityDuration: number): Promise<number> {
  const { certChain } = await call(request({ validityDuration }), await tokenFor('node-1'))
  const [leaf] = parseCertificates(certChain[0] ?? '', 'leaf')
  return Math.round(((leaf?.notAfterMs ?? 0) - Date.now()) / 10_000) * 10
}

describe('CreateCertificate', () => {
  test('answers leaf and roots, each ending in a newline, for an identity of the node', async () => {
    const { certChain } = await call(request(), await tokenFor('node-1'))
    expect(certChain).toHaveLength(2)
    expect(certChain.every((pem) => pem.endsWith('-----END CERTIFICATE-----\n'))).toBe(true)
    expect(certChain.at(-1)).toBe(authority.rootsPem)
    expect(parseCertificates(certChain[0] ?? '', 'leaf')[0]?.uris).toEqual([ID])
  })

  test('does not take names from the CSR', async () => {
    const foreign = createKeyAndCsr('spiffe://cluster.local/ns/kube-system/sa/admin').csrPem
    const { certChain } = await call(request({ csr: foreign }), await tokenFor('node-1'))
    expect(parseCertificates(certChain[0] ?? '', 'leaf')[0]?.uris).toEqual([ID])
  })

  test.for([
    [3_600, 3_600],
    [0, DAY_SECONDS],
    [-5, DAY_SECONDS],
    [90 * DAY_SECONDS, 90 * DAY_SECONDS],
  ] as const)('a validity of %s s gives one of %s s', async ([asked, given]) => {
    expect(await lifetimeFor(asked)).toBe(given)
  })

  const impersonation = 'request impersonation authentication failure'
  const as = (identity: unknown): Partial<IstioCertificateRequest> => ({
    metadata: { ImpersonatedIdentity: identity },
  })
  test.for<[string, Partial<IstioCertificateRequest>, string]>([
    ['runs on another node', as('spiffe://cluster.local/ns/shop/sa/payments'), 'no running pod'],
    ['runs nowhere', as('spiffe://cluster.local/ns/shop/sa/nobody'), 'no running pod'],
    [
      'is of another trust domain',
      as('spiffe://foreign.example/ns/shop/sa/orders'),
      'not of the trust domain',
    ],
    ['is no SPIFFE id', as('orders'), 'not the SPIFFE id'],
    ['has an empty part', as('spiffe://cluster.local/ns//sa/orders'), 'not the SPIFFE id'],
    ['is not a text', as(7), 'names no ImpersonatedIdentity'],
    ['is not named', { metadata: {} }, 'names no ImpersonatedIdentity'],
    ['has no metadata', { metadata: undefined }, 'names no ImpersonatedIdentity'],
  ])('refuses an identity that %s', async ([, special, logged]) => {
    const error = await refusal(request(special), await tokenFor('node-1'))
    expect(error).toMatchObject({ code: status.UNAUTHENTICATED, details: impersonation })
    expect(lines.join('')).toContain(logged)
  })

  test('refuses an identity whose last pod has finished', async () => {
    await call(request(), await tokenFor('node-1'))
    running.delete('node-1 shop/orders')
    const error = await refusal(request(), await tokenFor('node-1'))
    expect(error).toMatchObject({ code: status.UNAUTHENTICATED, details: impersonation })
  })

  test("refuses this node's identity to another node's token", async () => {
    const error = await refusal(request(), await tokenFor('node-2'))
    expect(error).toMatchObject({ code: status.UNAUTHENTICATED, details: impersonation })
  })

  test.for<[string, () => Promise<string | undefined>]>([
    ['no token', async () => undefined],
    [
      'a token for another audience',
      () => tokens.create({ node: 'node-1', ttlSeconds: 60, audience: 'x' }),
    ],
    ['a token of nobody', async () => 'abc'],
  ])('refuses a caller with %s', async ([, token]) => {
    const error = await refusal(request(), await token())
    expect(error).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: 'request authenticate failure',
    })
  })

  test.for<[string, Partial<IstioCertificateRequest>, RegExp]>([
    ['a validity of more than 90 days', { validityDuration: 90 * DAY_SECONDS + 1 }, /validity/],
    ['no CSR', { csr: '' }, /CSR/],
    ['a CSR that is garbage', { csr: 'garbage' }, /CSR/],
    ['a CSR that is too long', { csr: 'x'.repeat(17_000) }, /longer/],
  ])('refuses %s as an invalid argument, with the reason', async ([, special, details]) => {
    const error = await refusal(request(special), await tokenFor('node-1'))
    expect(error.code).toBe(status.INVALID_ARGUMENT)
    expect(error.details).toMatch(details)
  })
})

test('a bug tells the caller nothing and the log all', async () => {
  broken = true
  const error = await refusal(request(), await tokenFor('node-1'))
  expect(error).toMatchObject({ code: status.INTERNAL, details: 'internal error' })
  expect(lines.join('')).toContain('a bug with details')
})

test('a certificate manager gets its certificates through it', async () => {
  const rootFile = join(stateDir, 'root-cert.pem')
  const tokenFile = join(stateDir, 'token')
  writeFileSync(tokenFile, await tokenFor('node-1'))
  using source = new CaClient({
    address: `https://localhost:${port}`,
    rootFile,
    tokenFile,
    clusterId: 'Kubernetes',
    ttlSeconds: DAY_SECONDS,
    clock: systemClock,
    log: silentLog,
  })
  await using manager = new CertificateManager({ source, clock: systemClock, log: silentLog })
  const material = await manager.certificateFor(ID, AbortSignal.timeout(5_000))
  expect(material.chain[0].uris).toEqual([ID])
  expect(material.rootsPem).toBe(authority.rootsPem)
})
