import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  status,
} from '@grpc/grpc-js'
import { signCertificate } from '../identity/signing.ts'
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../proto/generated/discovery.ts'
import {
  type AgentMessage,
  type ControlMessage,
  NodeServiceService,
} from '../proto/generated/node.ts'

/** One stream of a client, played by the test. */
export class ServedStream<In, Out> {
  readonly metadata: Metadata
  readonly #call: ServerDuplexStream<In, Out>
  readonly #received: In[] = []
  readonly #waiting: ((message: In) => void)[] = []

  constructor(call: ServerDuplexStream<In, Out>) {
    this.#call = call
    this.metadata = call.metadata
    call.on('error', () => undefined)
    call.on('data', (message: In) => {
      const waiting = this.#waiting.shift()
      if (waiting === undefined) this.#received.push(message)
      else waiting(message)
    })
  }

  /** The next message of the client. */
  async next(): Promise<In> {
    return this.#received.shift() ?? (await new Promise((resolve) => this.#waiting.push(resolve)))
  }

  send(message: Out): void {
    this.#call.write(message)
  }

  fail(code: status = status.UNAVAILABLE): void {
    this.#call.emit(
      'error',
      Object.assign(new Error('on purpose'), { code, details: 'on purpose' }),
    )
  }

  end(): void {
    this.#call.end()
  }
}

export type XdsServed = ServedStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>
export type EnrollServed = ServedStream<AgentMessage, ControlMessage>

/** Hands over what comes to whoever waits for it. */
class Arrivals<T> {
  readonly #there: T[] = []
  readonly #waiting: ((value: T) => void)[] = []

  put(value: T): void {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#there.push(value)
    else waiting(value)
  }

  async next(): Promise<T> {
    return this.#there.shift() ?? (await new Promise((resolve) => this.#waiting.push(resolve)))
  }
}

/** For tests: a gRPC server over TLS whose answers are the test's. */
export class TestingServer implements AsyncDisposable {
  readonly directory: string
  readonly #xds = new Arrivals<XdsServed>()
  readonly #enroll = new Arrivals<EnrollServed>()
  readonly #credentials: ServerCredentials
  #server: Server | undefined
  #port = 0

  private constructor(directory: string, credentials: ServerCredentials) {
    this.directory = directory
    this.#credentials = credentials
  }

  static async start(): Promise<TestingServer> {
    const directory = await mkdtemp(join(tmpdir(), 'ambit-xds-'))
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const now = Date.now()
    const validity = { notBeforeMs: now - 60_000, notAfterMs: now + 3_600_000 }
    const root = signCertificate({
      issuer: { key: privateKey },
      publicKey,
      subject: { commonName: 'test' },
      ca: true,
      ...validity,
    })
    const { pem } = signCertificate({
      issuer: { key: privateKey, certificate: root },
      publicKey,
      sans: { ips: ['127.0.0.1'] },
      usages: ['serverAuth'],
      ...validity,
    })
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' })
    const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(pem) }
    await writeFile(join(directory, 'root.pem'), root.pem)
    await writeFile(join(directory, 'token'), 'first\n')
    const server = new TestingServer(directory, ServerCredentials.createSsl(null, [pair]))
    await server.listen()
    return server
  }

  /** What a client needs to reach it. */
  get endpoint() {
    return {
      address: `https://127.0.0.1:${this.#port}`,
      rootFile: join(this.directory, 'root.pem'),
      tokenFile: join(this.directory, 'token'),
      clusterId: 'Kubernetes',
    }
  }

  /** Opens the port, after `stop` the same one again. */
  async listen(): Promise<void> {
    const server = new Server()
    server.addService(AggregatedDiscoveryServiceService, {
      deltaAggregatedResources: (
        call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
      ) => this.#xds.put(new ServedStream(call)),
    })
    server.addService(NodeServiceService, {
      enroll: (call: ServerDuplexStream<AgentMessage, ControlMessage>) =>
        this.#enroll.put(new ServedStream(call)),
    })
    this.#server = server
    this.#port = await new Promise((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${this.#port}`, this.#credentials, (error, port) => {
        if (error === null) resolve(port)
        else reject(error)
      })
    })
  }

  /** Closes port and connections. */
  stop(): void {
    this.#server?.forceShutdown()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop()
    await rm(this.directory, { recursive: true, force: true })
  }

  async writeToken(token: string): Promise<void> {
    await writeFile(join(this.directory, 'token'), token)
  }

  /** The next stream of each kind that a client opens. */
  async xds(): Promise<XdsServed> {
    return await this.#xds.next()
  }

  async enroll(): Promise<EnrollServed> {
    return await this.#enroll.next()
  }
}
