import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateServiceService,
} from '../proto/generated/citadel.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLog } from '../runtime/log.ts'
import { CaClient, type CaClientOptions } from './ca-client.ts'
import { signCertificate } from './signing.ts'
import { TestingAuthority } from './testing-authority.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'
const never = new AbortController().signal

type Call = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>
type Reply = sendUnaryData<IstioCertificateResponse>

/** A CA's server, whose answers each test decides. */
class CaServer implements Disposable {
  readonly authority = new TestingAuthority()
  readonly calls: { request: IstioCertificateRequest; metadata: Metadata }[] = []
  reply: (call: Call, reply: Reply) => void = (_call, reply) =>
    reply(null, { certChain: ['leaf', 'middle', 'roots'] })
  port = 0
  readonly #server = new Server()

  async listen(port = 0): Promise<void> {
    this.#server.addService(IstioCertificateServiceService, {
      createCertificate: (call: Call, reply: Reply) => {
        this.calls.push({ request: call.request, metadata: call.metadata })
        this.reply(call, reply)
      },
    })
    this.port = await new Promise((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, this.#credentials(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      )
    })
  }

  [Symbol.dispose](): void {
    this.#server.forceShutdown()
  }

  #credentials(): ServerCredentials {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const now = Date.now()
    const certificate = signCertificate({
      issuer: this.authority.root,
      publicKey,
      sans: { ips: ['127.0.0.1'], dns: ['localhost'] },
      usages: ['serverAuth'],
      notBeforeMs: now - 60_000,
      notAfterMs: now + 3_600_000,
    })
    const key = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }))
    return ServerCredentials.createSsl(null, [
      { private_key: key, cert_chain: Buffer.from(certificate.pem) },
    ])
  }
}

let directory: string
let server: CaServer
let client: CaClient | undefined

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ambit-ca-'))
  server = new CaServer()
  await server.listen()
  writeFileSync(file('root'), server.authority.rootsPem)
  writeFileSync(file('token'), 'first-token\n')
})
afterEach(() => {
  client?.[Symbol.dispose]()
  server[Symbol.dispose]()
  rmSync(directory, { recursive: true })
})

const file = (name: string): string => join(directory, name)

function connect(options: Partial<CaClientOptions> = {}): CaClient {
  client = new CaClient({
    address: `https://127.0.0.1:${server.port}`,
    rootFile: file('root'),
    tokenFile: file('token'),
    clusterId: 'Kubernetes',
    ttlSeconds: 86_400,
    clock: systemClock,
    log: silentLog,
    ...options,
  })
  return client
}

const coded = (code: string) => expect.objectContaining({ code })

describe('CaClient', () => {
  test('asks as the node for the identity, and takes the answer apart', async () => {
    const issued = await connect().issue(ID, 'the csr', never)
    expect(issued).toEqual({ leaf: 'leaf', intermediates: ['middle'], roots: 'roots' })
    const [call] = server.calls
    expect(call?.request).toEqual({
      csr: 'the csr',
      validityDuration: 86_400,
      metadata: { ImpersonatedIdentity: ID },
    })
    expect(call?.metadata.get('authorization')).toEqual(['Bearer first-token'])
    expect(call?.metadata.get('clusterid')).toEqual(['Kubernetes'])
  })

  test('reads the token again for each request', async () => {
    const ca = connect()
    await ca.issue(ID, '', never)
    writeFileSync(file('token'), 'second-token')
    await ca.issue(ID, '', never)
    expect(server.calls[1]?.metadata.get('authorization')).toEqual(['Bearer second-token'])
  })

  test('takes new roots from the file, and keeps the old ones when it cannot be read', async () => {
    const ca = connect()
    await ca.issue(ID, '', never)
    rmSync(file('root'))
    await ca.issue(ID, '', never)
    writeFileSync(file('root'), new TestingAuthority().rootsPem)
    await expect(ca.issue(ID, '', never)).rejects.toEqual(coded('CA_UNAVAILABLE'))
    writeFileSync(file('root'), server.authority.rootsPem)
    await ca.issue(ID, '', never)
    expect(server.calls).toHaveLength(3)
  })

  test.for([
    [status.UNAUTHENTICATED, 'CA_UNAUTHENTICATED'],
    [status.PERMISSION_DENIED, 'CA_UNAUTHENTICATED'],
    [status.INVALID_ARGUMENT, 'CA_INVALID'],
    [status.UNAVAILABLE, 'CA_UNAVAILABLE'],
    [status.INTERNAL, 'CA_FAILED'],
  ] as const)('names status %s %s', async ([code, name]) => {
    server.reply = (_call, reply) => reply({ code, details: 'because' })
    const failure = connect().issue(ID, '', never)
    await expect(failure).rejects.toEqual(coded(name))
    await expect(failure).rejects.toThrow(/because/)
  })

  test.for([
    ['nothing', []],
    ['only a leaf', ['leaf']],
  ] as const)('refuses an answer with %s', async ([, certChain]) => {
    server.reply = (_call, reply) => reply(null, { certChain: [...certChain] })
    await expect(connect().issue(ID, '', never)).rejects.toEqual(coded('CA_ANSWER'))
  })

  test('gives up at its deadline and at the signal of the caller', async () => {
    server.reply = () => undefined
    await expect(connect({ deadlineMs: 100 }).issue(ID, '', never)).rejects.toEqual(
      coded('CA_UNAVAILABLE'),
    )
    const budget = new AbortController()
    const called = new Promise<void>((resolve) => {
      server.reply = () => resolve()
    })
    const wait = connect().issue(ID, '', budget.signal)
    await called
    budget.abort(new Error('enough'))
    await expect(wait).rejects.toThrow('enough')
  })

  test.for([
    ['is empty', ' \n', 'CA_TOKEN'],
    ['holds more than a token', 'a\nb', 'CA_TOKEN'],
  ] as const)('refuses a token file that %s', async ([, text, code]) => {
    writeFileSync(file('token'), text)
    await expect(connect().issue(ID, '', never)).rejects.toEqual(coded(code))
    expect(server.calls).toEqual([])
  })

  test('names the file that is missing or useless', async () => {
    await expect(connect({ tokenFile: file('none') }).issue(ID, '', never)).rejects.toThrow(/none/)
    await expect(connect({ rootFile: file('none') }).issue(ID, '', never)).rejects.toEqual(
      coded('CA_ROOT'),
    )
    await expect(connect({ rootFile: file('token') }).issue(ID, '', never)).rejects.toEqual(
      coded('CA_ROOT'),
    )
  })

  test('does not speak to a CA that another authority vouches for', async () => {
    writeFileSync(file('root'), new TestingAuthority().rootsPem)
    await expect(connect().issue(ID, '', never)).rejects.toEqual(coded('CA_UNAVAILABLE'))
    expect(server.calls).toEqual([])
  })

  test.for(['http://ca:15012', 'ca', '', 'https://ca', 'unix:/run/ca'])(
    'refuses the address %j',
    (address) => {
      expect(() => connect({ address })).toThrow(coded('CA_ADDRESS'))
    },
  )

  test('finds a CA that comes back', async () => {
    const ca = connect()
    await ca.issue(ID, '', never)
    const { port } = server
    server[Symbol.dispose]()
    await expect(ca.issue(ID, '', never)).rejects.toEqual(coded('CA_UNAVAILABLE'))
    server = new CaServer()
    writeFileSync(file('root'), server.authority.rootsPem)
    await server.listen(port)
    expect((await ca.issue(ID, '', never)).leaf).toBe('leaf')
  })
})
