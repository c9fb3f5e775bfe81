import { Socket } from 'node:net'
import { CertificateManager } from '../shared/identity/certificate-manager.ts'
import type { CertificateSource } from '../shared/identity/certificate-source.ts'
import { TestingAuthority } from '../shared/identity/testing-authority.ts'
import { Lab, type LabNode, type Pod } from '../shared/lab/lab.ts'
import { NetworkNamespace } from '../shared/linux/namespace.ts'
import { tcpSocket } from '../shared/linux/sockets.ts'
import { workloadResource } from '../shared/mesh/testing-mesh.ts'
import { TunnelProtocol } from '../shared/proto/generated/workload.ts'
import { type Clock, systemClock } from '../shared/runtime/clock.ts'
import { parseIpAddress } from '../shared/runtime/ip-address.ts'
import { createLog } from '../shared/runtime/log.ts'
import { Metrics } from '../shared/telemetry/metrics.ts'
import { DescriptorBudget } from './capture/descriptor-budget.ts'
import type { PodSubject } from './capture/pod-subject.ts'
import { DataPlane } from './data-plane/data-plane.ts'
import { MeshSource } from './data-plane/mesh-source.ts'
import { PodProxy } from './pod-proxy.ts'

export interface TestingNodeOptions {
  readonly threads: number
  /** The worker's program; the real one if left out. */
  readonly program?: URL
  readonly authority?: CertificateSource
  /** Of descriptors. */
  readonly limit?: number
}

/** The traffic half of ztunnel in the test's own process, with a lab for its pods and no control plane. */
export class TestingNode implements AsyncDisposable {
  readonly lab: Lab
  readonly log = createLog({
    level: 'debug',
    format: 'plain',
    write: (line) => void this.lines.push(line),
  })
  /** What the main thread logged. */
  readonly lines: string[] = []
  readonly mesh = new MeshSource()
  readonly certificates: CertificateManager
  readonly dataPlane: DataPlane
  readonly pods = new Map<string, Pod>()
  readonly proxies = new Map<string, PodProxy>()
  /** How often the descriptor limit was reached. */
  limits = 0

  private constructor(lab: Lab, options: TestingNodeOptions) {
    this.lab = lab
    const { threads, limit = 10_000, authority = new TestingAuthority() } = options
    const { log, mesh } = this
    const clock = systemClock
    this.certificates = new CertificateManager({ source: authority, clock, log })
    this.dataPlane = new DataPlane({
      threads,
      program: options.program ?? new URL('./worker.ts', import.meta.url),
      settings: { network: '', node: 'node-1', poolIdleMs: 60_000 },
      logFormat: 'plain',
      mesh,
      certificates: this.certificates,
      budget: DescriptorBudget.of(limit, threads + 1),
      metrics: new Metrics(),
      clock,
      log: createLog({
        level: 'error',
        format: 'plain',
        write: (line) => void this.lines.push(line),
      }),
      onLimit: () => this.limits++,
    })
  }

  static async start(options: TestingNodeOptions): Promise<TestingNode> {
    const node = new TestingNode(await Lab.create(), options)
    try {
      await node.dataPlane.start()
      return node
    } catch (error) {
      await node[Symbol.asyncDispose]()
      throw error
    }
  }

  /** A pod that the mesh knows, and does not capture yet. */
  async pod(on: LabNode, name: string): Promise<Pod> {
    const pod = await on.pod(name)
    this.pods.set(name, pod)
    this.mesh.applyAddresses(
      [
        workloadResource({
          uid: uidOf(name),
          name,
          serviceAccount: name,
          node: on.name,
          addresses: [addressOf(pod.address4), addressOf(pod.address6)],
          tunnelProtocol: TunnelProtocol.HBONE,
        }),
      ],
      [],
    )
    return pod
  }

  async captured(on: LabNode, name: string): Promise<Pod> {
    const pod = await this.pod(on, name)
    await this.capture(name)
    return pod
  }

  /** `clock` is for the waits of a release. */
  async capture(name: string, clock: Clock = systemClock): Promise<PodProxy> {
    const parts = { dataPlane: this.dataPlane, clock, node: 'node-1' }
    const proxy = new PodProxy(parts, this.subjectOf(name))
    this.proxies.set(name, proxy)
    await proxy.capture()
    return proxy
  }

  subjectOf(name: string): PodSubject {
    return {
      uid: uidOf(name),
      name,
      namespace: 'default',
      serviceAccount: name,
      trustDomain: 'cluster.local',
      netns: NetworkNamespace.open(this.podOf(name).namespacePath),
    }
  }

  podOf(name: string): Pod {
    const pod = this.pods.get(name)
    if (pod === undefined) throw new Error(`no pod ${name}`)
    return pod
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const proxy of this.proxies.values()) proxy[Symbol.dispose]()
    await this.dataPlane[Symbol.asyncDispose]()
    await this.certificates[Symbol.asyncDispose]()
    await this.lab.dispose()
  }

  /** A connection from one pod to another; `text` is all that comes back, and rejects when the connection is cut. */
  call(from: string, to: string, port: number) {
    const fd = this.podOf(from).namespace.run(() => tcpSocket({ family: 4 }))
    const socket = new Socket({ fd, allowHalfOpen: true })
    const text = new Promise<string>((resolve, reject) => {
      const chunks: Buffer[] = []
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.on('end', () => resolve(Buffer.concat(chunks).toString('latin1')))
      socket.on('error', reject)
    })
    text.catch(() => undefined)
    socket.connect({ host: this.podOf(to).address4, port })
    return { socket, text }
  }
}

const uidOf = (name: string): string => `Kubernetes//Pod/default/${name}`

const addressOf = (text: string): Buffer => Buffer.from(parseIpAddress(text) ?? [])
