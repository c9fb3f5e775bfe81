import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server, Socket } from 'node:net'
import { join } from 'node:path'
import {
  type Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
} from '@grpc/grpc-js'
import { SignJWT } from 'jose'
import type { LabMesh } from '../../../shared/lab/mesh.ts'
import { tcpSocket } from '../../../shared/linux/sockets.ts'
import { IstioCertificateServiceClient } from '../../../shared/proto/generated/citadel.ts'
import { AggregatedDiscoveryServiceClient } from '../../../shared/proto/generated/discovery.ts'
import { NodeServiceClient } from '../../../shared/proto/generated/node.ts'

const PORT = 15_012
const TIMEOUT_MS = 5_000

/** Raw gRPC clients of a mesh's control plane. They are outside its network, so their bytes are carried inside. */
export class ControlClient implements Disposable {
  readonly certificates: IstioCertificateServiceClient
  readonly discovery: AggregatedDiscoveryServiceClient
  readonly enrollment: NodeServiceClient
  readonly #mesh: LabMesh
  readonly #relay: Server

  private constructor(mesh: LabMesh, relay: Server, port: number) {
    this.#mesh = mesh
    this.#relay = relay
    const trusted = credentials.createSsl(readFileSync(mesh.rootFile))
    const target = `localhost:${port}`
    this.certificates = new IstioCertificateServiceClient(target, trusted)
    this.discovery = new AggregatedDiscoveryServiceClient(target, trusted)
    this.enrollment = new NodeServiceClient(target, trusted)
  }

  static async open(mesh: LabMesh): Promise<ControlClient> {
    const relay = createServer((outer) => {
      const fd = mesh.control.namespace.run(() => tcpSocket({ family: 4 }))
      const inner = new Socket({ fd })
      for (const [one, other] of [
        [outer, inner],
        [inner, outer],
      ] as const) {
        one.on('error', () => other.destroy())
        one.once('close', () => other.destroy())
      }
      inner.connect({ host: '127.0.0.1', port: PORT })
      outer.pipe(inner).pipe(outer)
    })
    relay.listen(0, '127.0.0.1')
    await once(relay, 'listening')
    const address = relay.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return new ControlClient(mesh, relay, address.port)
  }

  /** A token as `ambit token create` makes them, or with something wrong about it. */
  async token(node: string, special: TokenOptions = {}): Promise<string> {
    const { audience = 'ambit-ca', expiresInSeconds = 60, key } = special
    const pem = readFileSync(join(this.#mesh.stateDirectory, 'token-key.pem'), 'utf8')
    const now = Math.floor(Date.now() / 1_000)
    return await new SignJWT({ node })
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT' })
      .setIssuer('ambit')
      .setAudience(audience)
      .setSubject(`node:${node}`)
      .setIssuedAt(now - 3_600)
      .setExpirationTime(now + expiresInSeconds)
      .sign(createPrivateKey(key ?? pem))
  }

  [Symbol.dispose](): void {
    for (const client of [this.certificates, this.discovery, this.enrollment] as Client[]) {
      client.close()
    }
    this.#relay.close()
  }
}

export interface TokenOptions {
  readonly audience?: string
  readonly expiresInSeconds?: number
  /** Of the signature, in PEM, if not the mesh's own. */
  readonly key?: string
}

export const bearer = (token: string | undefined): Metadata => {
  const metadata = new Metadata()
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`)
  return metadata
}

export const deadline = () => ({ deadline: Date.now() + TIMEOUT_MS })

/** Messages of a stream, to be taken one by one, and how it ends. */
export class RawStream<Request, Response> implements Disposable {
  readonly ended: Promise<Pick<StatusObject, 'code' | 'details'>>
  readonly #call: ClientDuplexStream<Request, Response>
  readonly #arrived: Response[] = []
  readonly #waiting = new Set<() => void>()

  constructor(call: ClientDuplexStream<Request, Response>) {
    this.#call = call
    call.on('data', (message: Response) => {
      this.#arrived.push(message)
      for (const wake of this.#waiting) wake()
    })
    call.on('error', (_error: ServiceError) => undefined)
    this.ended = new Promise((resolve) => {
      call.once('status', ({ code, details }: StatusObject) => resolve({ code, details }))
    })
  }

  send(message: Request): void {
    this.#call.write(message)
  }

  /** Rejects if none comes in time. */
  async next(timeoutMs = TIMEOUT_MS): Promise<Response> {
    const first = await this.nextIfAny(timeoutMs)
    if (first === undefined) throw new Error(`no message within ${timeoutMs} ms`)
    return first
  }

  /** Undefined if none comes in time. */
  async nextIfAny(timeoutMs: number): Promise<Response | undefined> {
    if (this.#arrived.length === 0) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer)
          this.#waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, timeoutMs)
        this.#waiting.add(wake)
      })
    }
    return this.#arrived.shift()
  }

  [Symbol.dispose](): void {
    this.#call.cancel()
  }
}
