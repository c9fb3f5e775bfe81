import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import {
  AggregatedDiscoveryServiceService,
  DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../shared/proto/generated/discovery.ts'
import {
  AgentMessage,
  type ControlMessage,
  NodeServiceService,
} from '../shared/proto/generated/node.ts'
import { systemClock } from '../shared/runtime/clock.ts'
import { type Log, silentLog } from '../shared/runtime/log.ts'
import { readSettings } from '../shared/runtime/settings.ts'
import { createToken } from './commands/token.ts'
import { type ControlPlane, createControlPlane } from './main.ts'
import { CONTROL_PLANE_SETTINGS } from './settings.ts'

/** One bidirectional stream of a test: what came is kept until it is asked for. */
export class TestStream<Out, In> {
  readonly #received: In[] = []
  readonly #waiting: ((message: In) => void)[] = []
  /** Code and text of the end. */
  readonly ended: Promise<{ readonly code: number; readonly details: string }>
  readonly send: (message: Out) => void
  readonly cancel: () => void

  constructor(call: {
    on(event: 'data', listener: (message: In) => void): unknown
    on(event: 'error', listener: () => void): unknown
    on(event: 'status', listener: (status: { code: number; details: string }) => void): unknown
    write(message: Out): unknown
    cancel(): void
  }) {
    call.on('data', (message) => {
      const waiting = this.#waiting.shift()
      if (waiting === undefined) this.#received.push(message)
      else waiting(message)
    })
    call.on('error', () => undefined)
    this.ended = new Promise((resolve) => call.on('status', resolve))
    this.send = (message) => void call.write(message)
    this.cancel = () => call.cancel()
  }

  /** The next message. */
  async next(): Promise<In> {
    const message = this.#received.shift()
    return message ?? (await new Promise((resolve) => this.#waiting.push(resolve)))
  }

  /** Messages that came and were not asked for. */
  get unread(): number {
    return this.#received.length
  }
}

/** For tests: a whole control plane in this process, on ports of the kernel's choice, and raw clients. */
export class TestingControlPlane implements AsyncDisposable {
  readonly directory: string
  readonly #log: Log
  readonly #clients = new Set<Client>()
  #running: ControlPlane | undefined

  private constructor(directory: string, log: Log) {
    this.directory = directory
    this.#log = log
  }

  static async start(objects: Readonly<Record<string, string>> = {}, log = silentLog) {
    const directory = await mkdtemp(join(tmpdir(), 'ambit-control-'))
    const plane = new TestingControlPlane(directory, log)
    await mkdir(plane.config)
    for (const [file, text] of Object.entries(objects)) await plane.write(file, text)
    await plane.start()
    return plane
  }

  get config(): string {
    return join(this.directory, 'config')
  }

  get state(): string {
    return join(this.directory, 'state')
  }

  get rootFile(): string {
    return join(this.state, 'root-cert.pem')
  }

  get url(): string {
    return `https://localhost:${this.#running?.grpc.port ?? 0}`
  }

  /** Starts it, again after `stop`, on the state that is there. */
  async start(): Promise<void> {
    const flags = {
      config: this.config,
      state: this.state,
      listen: '127.0.0.1:0',
      'metrics-listen': '127.0.0.1:0',
    }
    const settings = readSettings(CONTROL_PLANE_SETTINGS, { flags, env: {} })
    this.#running = await createControlPlane(settings, this.#log, systemClock)
    for (const component of this.#running.components) await component.start()
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close()
    this.#clients.clear()
    for (const component of this.#running?.components.toReversed() ?? []) {
      await component[Symbol.asyncDispose]()
    }
    this.#running = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await rm(this.directory, { recursive: true, force: true })
  }

  async write(file: string, text: string): Promise<void> {
    const temporary = join(this.directory, 'file.tmp')
    await writeFile(temporary, text)
    await rename(temporary, join(this.config, file))
  }

  async remove(file: string): Promise<void> {
    await rm(join(this.config, file))
  }

  /** The body of one of the HTTP pages. */
  async page(path: string): Promise<string> {
    const answer = await fetch(`http://127.0.0.1:${this.#running?.http.port ?? 0}${path}`)
    return await answer.text()
  }

  async token(node: string): Promise<string> {
    return await createToken({ stateDir: this.state, node, ttlSeconds: 60 })
  }

  async xds(token: string): Promise<TestStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>> {
    const { path, requestSerialize, responseDeserialize } =
      AggregatedDiscoveryServiceService.deltaAggregatedResources
    const client = await this.#client()
    const metadata = metadataOf(token)
    return new TestStream(
      client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, {}),
    )
  }

  async enroll(token: string): Promise<TestStream<AgentMessage, ControlMessage>> {
    const { path, requestSerialize, responseDeserialize } = NodeServiceService.enroll
    const client = await this.#client()
    const metadata = metadataOf(token)
    return new TestStream(
      client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, {}),
    )
  }

  async #client(): Promise<Client> {
    const root = await readFile(this.rootFile)
    const client = new Client(new URL(this.url).host, credentials.createSsl(root), {
      'grpc.use_local_subchannel_pool': 1,
    })
    this.#clients.add(client)
    return client
  }
}

function metadataOf(token: string): Metadata {
  const metadata = new Metadata()
  if (token !== '') metadata.set('authorization', `Bearer ${token}`)
  return metadata
}

/** A request with what is given. */
export const xdsRequest = (
  typeUrl: string,
  given: Partial<DeltaDiscoveryRequest> = {},
): DeltaDiscoveryRequest => ({ ...DeltaDiscoveryRequest.fromPartial({ typeUrl }), ...given })

export const XDS_NODE = { id: 'ztunnel~1.1.1.1~z.istio-system~x', cluster: '', metadata: {} }

export const hello = (node: string): AgentMessage =>
  AgentMessage.fromPartial({ message: { $case: 'hello', value: { node } } })

/** A running pod of an ambient namespace. */
export const podYaml = (name: string, node: string, ip: string, mode = 'ambient'): string => `
apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: shop
  labels: { app: ${name}, istio.io/dataplane-mode: ${mode} }
spec:
  nodeName: ${node}
  serviceAccountName: ${name}
  containers: [{ name: app }]
status:
  phase: Running
  podIP: ${ip}
  podIPs: [{ ip: ${ip} }]
  conditions: [{ type: Ready, status: "True" }]
`

export const podUid = (name: string): string => `Kubernetes//Pod/shop/${name}`
