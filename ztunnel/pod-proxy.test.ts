import { once } from 'node:events'
import { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CertificateManager } from '../shared/identity/certificate-manager.ts'
import { TestingAuthority } from '../shared/identity/testing-authority.ts'
import { appPath } from '../shared/lab/apps/app-path.ts'
import { Lab, type LabNode, type Pod } from '../shared/lab/lab.ts'
import { NetworkNamespace } from '../shared/linux/namespace.ts'
import { tcpSocket } from '../shared/linux/sockets.ts'
import { MeshStore } from '../shared/mesh/store.ts'
import { policyResource, workloadResource } from '../shared/mesh/testing-mesh.ts'
import { Action, Scope } from '../shared/proto/generated/authorization.ts'
import { TunnelProtocol } from '../shared/proto/generated/workload.ts'
import { systemClock } from '../shared/runtime/clock.ts'
import { parseIpAddress } from '../shared/runtime/ip-address.ts'
import { createLog } from '../shared/runtime/log.ts'
import { Metrics } from '../shared/telemetry/metrics.ts'
import { createTelemetry } from '../shared/telemetry/recorder.ts'
import { DescriptorGate } from './capture/descriptor-gate.ts'
import { PodProxy } from './pod-proxy.ts'
import type { NodeContext } from './tunnel/pod-context.ts'

const lines: string[] = []
const log = createLog({ level: 'debug', format: 'plain', write: (line) => void lines.push(line) })
const authority = new TestingAuthority()
const certificates = new CertificateManager({ source: authority, clock: systemClock, log })
const mesh = new MeshStore()
const telemetry = createTelemetry({ metrics: new Metrics(), log, clock: systemClock })
const context: NodeContext = {
  mesh,
  certificates,
  telemetry,
  gate: new DescriptorGate({ budget: 10_000, onPause: () => undefined, onResume: () => undefined }),
  clock: systemClock,
  log,
  settings: { network: '', node: 'node-1', poolIdleMs: 60_000 },
}

let lab: Lab
const proxies: PodProxy[] = []
const pods: Record<string, Pod> = {}

async function podOn(node: LabNode, name: string): Promise<Pod> {
  const pod = await node.pod(name)
  pods[name] = pod
  const uid = `Kubernetes//Pod/default/${name}`
  const rejected = mesh.applyAddresses(
    [
      workloadResource({
        uid,
        name,
        serviceAccount: name,
        node: node.name,
        addresses: [addressOf(pod.address4), addressOf(pod.address6)],
        tunnelProtocol: TunnelProtocol.HBONE,
      }),
    ],
    [],
  )
  expect(rejected).toEqual([])
  const proxy = new PodProxy(context, {
    uid,
    name,
    namespace: 'default',
    serviceAccount: name,
    trustDomain: 'cluster.local',
    netns: NetworkNamespace.open(pod.namespacePath),
  })
  proxies.push(proxy)
  await proxy.capture()
  return pod
}

beforeAll(async () => {
  lab = await Lab.create()
  await certificates.start()
  const first = await lab.node('node-1')
  const second = await lab.node('node-2')
  await podOn(first, 'caller')
  await podOn(first, 'near')
  await podOn(second, 'far')
  pods['far']?.spawn(process.execPath, [appPath('tcp-app'), '--port', '9000'])
  await pods['far']?.waitForPort(9000)
  for (const name of ['near', 'far']) {
    const app = pods[name]?.spawn(process.execPath, [
      appPath('http-app'),
      '--port',
      '8080',
      '--name',
      name,
    ])
    await pods[name]?.waitForPort(8080)
    expect(app?.exit).toBeUndefined()
  }
}, 60_000)

afterAll(async () => {
  for (const proxy of proxies) proxy[Symbol.dispose]()
  await certificates[Symbol.asyncDispose]()
  await lab?.dispose()
})

describe('PodProxy', () => {
  test.for([
    ['near', 'address4'],
    ['near', 'address6'],
    ['far', 'address4'],
    ['far', 'address6'],
  ] as const)(
    'carries a request to %s over %s through HBONE, the caller seen as itself',
    async ([name, family]) => {
      const caller = pods['caller']
      const target = pods[name]?.[family] ?? ''
      const url = target.includes(':') ? `http://[${target}]:8080/` : `http://${target}:8080/`
      const answer = await caller?.exec('curl', ['-sS', '--max-time', '5', '-g', url])
      expect(`${answer?.stderr}${answer?.code === 0 ? '' : lines.join('')}`).toBe('')
      expect(JSON.parse(answer?.stdout ?? '')).toMatchObject({ app: name, peer: caller?.[family] })
    },
  )

  test('a half-close passes through, and the answer after it', async () => {
    const { socket, text } = await call()
    socket.end('sink\nhello')
    expect(await text).toMatch(/^5 [0-9a-f]{64}/)
  })

  test('a large download arrives whole', async () => {
    const { socket, text } = await call()
    socket.write('source 20000000 7\n')
    expect((await text).length).toBeGreaterThan(10_000_000)
  })

  test("an application's reset reaches the caller as a reset", async () => {
    const { socket, text } = await call()
    socket.write('reset\nx')
    await expect(text).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('a policy that now denies cuts the open connection and refuses new ones', async () => {
    const { socket, text } = await call()
    socket.write('echo\n')
    const denied = policyResource({
      name: 'nobody',
      namespace: 'default',
      scope: Scope.NAMESPACE,
      action: Action.DENY,
      groups: [{ rules: [] }],
    })
    expect(mesh.applyPolicies([denied], [])).toEqual([])
    await expect(text).rejects.toMatchObject({ code: 'ECONNRESET' })
    const again = await call()
    await expect(again.text).rejects.toMatchObject({ code: 'ECONNRESET' })
    mesh.applyPolicies([], [denied.name])
    const { socket: last, text: answer } = await call()
    last.end('peer\n')
    expect(await answer).toContain(pods['caller']?.address4)
  })
})

const addressOf = (text: string): Buffer => Buffer.from(parseIpAddress(text) ?? [])

/** A connection of the caller's pod to the TCP app of the far one; `text` rejects when it is cut. */
async function call() {
  const caller = pods['caller']
  const target = pods['far']
  if (caller === undefined || target === undefined) throw new Error('no pods')
  const fd = caller.namespace.run(() => tcpSocket({ family: 4 }))
  const socket = new Socket({ fd, allowHalfOpen: true })
  const text = new Promise<string>((resolve, reject) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', () => resolve(Buffer.concat(chunks).toString('latin1')))
    socket.on('error', reject)
  })
  text.catch(() => undefined)
  socket.connect({ host: target.address4, port: 9000 })
  await once(socket, 'connect')
  return { socket, text }
}
