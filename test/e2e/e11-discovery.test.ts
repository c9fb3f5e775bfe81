import { status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { podObject } from '../../shared/lab/objects.ts'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../shared/proto/generated/discovery.ts'
import { Report_State } from '../../shared/proto/generated/node.ts'
import { Address } from '../../shared/proto/generated/workload.ts'
import { bearer, ControlClient, deadline, RawStream } from './support/control-client.ts'
import { Scene } from './support/scene.ts'
import { deny, from } from './support/security-objects.ts'

const ADDRESS = 'type.googleapis.com/istio.workload.Address'
const AUTHORIZATION = 'type.googleapis.com/istio.security.Authorization'
/** Long enough for a change to have come, if it did. */
const QUIET_MS = 400

const PODS = {
  caller: { node: 'node-1', serviceAccount: 'caller' },
  server: { node: 'node-2', serviceAccount: 'server' },
} as const

const CALLER = 'Kubernetes//Pod/default/caller'
const SERVER = 'Kubernetes//Pod/default/server'

let scene: Scene<keyof typeof PODS>
let client: ControlClient

beforeAll(async () => {
  scene = await Scene.start({ ambient: ['default'], pods: PODS })
  client = await ControlClient.open(scene.mesh)
})
afterAll(async () => {
  client?.[Symbol.dispose]()
  await scene?.[Symbol.asyncDispose]()
})

type Stream = RawStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

async function open(through = client): Promise<Stream> {
  const call = through.discovery.deltaAggregatedResources(bearer(await client.token('node-1')))
  const stream = new RawStream(call)
  onTestFinished(() => stream[Symbol.dispose]())
  return stream
}

const request = (more: Partial<DeltaDiscoveryRequest>): DeltaDiscoveryRequest => ({
  node: { id: 'ztunnel~raw', cluster: 'Kubernetes', metadata: undefined },
  typeUrl: ADDRESS,
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
  responseNonce: '',
  errorDetail: undefined,
  ...more,
})

const acknowledge = (stream: Stream, { typeUrl, nonce }: DeltaDiscoveryResponse): void =>
  stream.send(request({ typeUrl, responseNonce: nonce }))

const refuse = (stream: Stream, { typeUrl, nonce }: DeltaDiscoveryResponse, message: string) =>
  stream.send(
    request({ typeUrl, responseNonce: nonce, errorDetail: { code: 3, message, details: [] } }),
  )

/** Subscribes to everything of a type, as a client that holds these versions, and takes the answer. */
async function subscribe(
  stream: Stream,
  typeUrl = ADDRESS,
  initialResourceVersions: Readonly<Record<string, string>> = {},
): Promise<DeltaDiscoveryResponse> {
  stream.send(request({ typeUrl, resourceNamesSubscribe: ['*'], initialResourceVersions }))
  const first = await stream.next()
  acknowledge(stream, first)
  return first
}

const namesOf = ({ resources }: DeltaDiscoveryResponse): string[] =>
  resources.map(({ name }) => name).sort()

const versionsOf = ({ resources }: DeltaDiscoveryResponse): Record<string, string> =>
  Object.fromEntries(resources.map(({ name, version }) => [name, version]))

const policyNamed = (name: string): object => deny([from({ namespaces: ['none'] })], { name })

/** A pod that is not captured, so that nobody but the test changes it. */
const guest = (version: string, name = 'guest'): object =>
  podObject({
    name,
    namespace: 'default',
    node: 'node-9',
    serviceAccount: 'guest',
    labels: { app: name, version },
    addresses: [name === 'guest' ? '10.244.9.1' : '10.244.9.2'],
  })
const GUEST = 'Kubernetes//Pod/default/guest'
const OTHER = 'Kubernetes//Pod/default/other'

const revisionIn = ({ resources }: DeltaDiscoveryResponse): string | undefined => {
  const address = Address.decode(resources[0]?.resource?.value ?? new Uint8Array())
  return address.type?.$case === 'workload' ? address.type.value.canonicalRevision : undefined
}

/** Whether the control plane serves it, as its own debug page says. */
async function isServed(name: string): Promise<boolean> {
  const dump = await scene.mesh.get(scene.mesh.control, 15_014, '/debug/config_dump')
  return dump.includes(`"name": "${name}"`)
}

/** A client that has acknowledged everything there is: the captured pods and `guest`. */
async function withGuest(): Promise<{ stream: Stream; first: DeltaDiscoveryResponse }> {
  const { mesh } = scene
  await mesh.remove('guests')
  await mesh.eventually('no guests', async () => !(await isServed(GUEST)))
  await mesh.apply('guests', [guest('v1')])
  await mesh.eventually('a guest', async () => await isServed(GUEST))
  const stream = await open()
  return { stream, first: await subscribe(stream) }
}

describe('E11 discovery', () => {
  test('a first subscription gets everything, and an acknowledged one a changed resource alone', async () => {
    const { stream, first } = await withGuest()
    expect(namesOf(first)).toEqual([CALLER, GUEST, SERVER])
    expect(await stream.nextIfAny(QUIET_MS)).toBeUndefined()

    // The same objects in another form are no change.
    await scene.mesh.apply('guests', `# a comment\n${JSON.stringify(guest('v1'))}`)
    expect(await stream.nextIfAny(QUIET_MS)).toBeUndefined()

    await scene.mesh.apply('guests', [guest('v2')])
    const change = await stream.next()
    expect(namesOf(change)).toEqual([GUEST])
    expect(revisionIn(change)).toBe('v2')
    expect(change.removedResources).toEqual([])
    expect(versionsOf(change)[GUEST]).not.toBe(versionsOf(first)[GUEST])
  })

  test('what changes while an answer is awaited comes together after it', async () => {
    const { stream } = await withGuest()
    await scene.mesh.apply('guests', [guest('v2')])
    const unanswered = await stream.next()
    await scene.mesh.apply('guests', [guest('v3'), guest('v1', 'other')])
    await scene.mesh.apply('guests', [guest('v4'), guest('v1', 'other')])
    expect(await stream.nextIfAny(QUIET_MS)).toBeUndefined()
    acknowledge(stream, unanswered)
    const rest = await stream.next()
    expect(namesOf(rest)).toEqual([GUEST, OTHER])
    acknowledge(stream, rest)
    expect(await stream.nextIfAny(QUIET_MS)).toBeUndefined()
  })

  test('what a client refuses is reported and not sent again until it changes', async () => {
    const { mesh } = scene
    const { stream } = await withGuest()
    await mesh.apply('guests', [guest('v2')])
    refuse(stream, await stream.next(), 'I do not like version two')
    const line = await mesh.controlPlane.waitForLine(/I do not like version two/)
    expect(JSON.parse(line)).toMatchObject({ level: 'warn', node: 'node-1', type: ADDRESS })
    const metrics = await mesh.get(mesh.control, 15_014, '/metrics')
    expect(metrics).toMatch(/^ambit_xds_rejects_total\{.*type="Address".*\} [1-9]/m)
    expect(await stream.nextIfAny(QUIET_MS)).toBeUndefined()
    await mesh.apply('guests', [guest('v3')])
    expect(revisionIn(await stream.next())).toBe('v3')
  })

  test('an answer to an older response counts for nothing', async () => {
    const { stream, first } = await withGuest()
    await scene.mesh.apply('guests', [guest('v2')])
    const second = await stream.next()
    acknowledge(stream, first)
    await scene.mesh.apply('guests', [guest('v3')])
    expect(await stream.nextIfAny(QUIET_MS)).toBeUndefined()
    acknowledge(stream, second)
    expect(revisionIn(await stream.next())).toBe('v3')
  })

  test('what is gone is named, of both types', async () => {
    const { stream } = await withGuest()
    await scene.mesh.apply('policies', [policyNamed('one'), policyNamed('two')])
    await scene.mesh.eventually('both policies', async () => await isServed('default/two'))
    const policies = await open()
    expect(namesOf(await subscribe(policies, AUTHORIZATION))).toEqual([
      'default/one',
      'default/two',
    ])
    await scene.mesh.remove('guests')
    expect(await stream.next()).toMatchObject({ resources: [], removedResources: [GUEST] })
    await scene.mesh.apply('policies', [policyNamed('two')])
    expect(await policies.next()).toMatchObject({
      resources: [],
      removedResources: ['default/one'],
    })
  })

  test('a client that comes back gets what it lacks, and is told what is gone', async () => {
    const { stream, first } = await withGuest()
    stream[Symbol.dispose]()
    const held = versionsOf(first)
    const same = await subscribe(await open(), ADDRESS, held)
    expect(same).toMatchObject({ resources: [], removedResources: [] })
    const lacking = { ...held, [GUEST]: 'an older one', [OTHER]: 'gone meanwhile' }
    const some = await subscribe(await open(), ADDRESS, lacking)
    expect(namesOf(some)).toEqual([GUEST])
    expect(some.removedResources).toEqual([OTHER])
  })

  test('the versions are the same after a restart of the control plane', async () => {
    const { first } = await withGuest()
    await scene.mesh.controlPlane.stop()
    await scene.mesh.startControlPlane()
    using restarted = await ControlClient.open(scene.mesh)
    const again = await subscribe(await open(restarted), ADDRESS, versionsOf(first))
    expect(again).toMatchObject({ resources: [], removedResources: [] })
  })

  test.each([
    ['no token', async () => await Promise.resolve(undefined)],
    ['an expired token', async () => await client.token('node-1', { expiresInSeconds: -30 })],
    ['a token for another audience', async () => await client.token('node-1', { audience: 'x' })],
    ['something that is no token', async () => await Promise.resolve('a.b.c')],
  ])('%s opens no stream, neither for discovery nor for enrollment', async (_name, token) => {
    const metadata = bearer(await token())
    using discovery = new RawStream(client.discovery.deltaAggregatedResources(metadata, deadline()))
    discovery.send(request({ resourceNamesSubscribe: ['*'] }))
    expect((await discovery.ended).code).toBe(status.UNAUTHENTICATED)
    expect(await discovery.nextIfAny(0)).toBeUndefined()
    using enrollment = new RawStream(client.enrollment.enroll(metadata, deadline()))
    enrollment.send(hello('node-1'))
    expect((await enrollment.ended).code).toBe(status.UNAUTHENTICATED)
    expect(await enrollment.nextIfAny(0)).toBeUndefined()
  })

  test('a client that does not say who it is is sent away', async () => {
    const stream = await open()
    stream.send(request({ node: undefined }))
    expect((await stream.ended).code).toBe(status.INVALID_ARGUMENT)
  })

  test("an agent with another node's token neither sees that node's pods nor speaks for them", async () => {
    const metadata = bearer(await client.token('node-2'))
    using pretender = new RawStream(client.enrollment.enroll(metadata, deadline()))
    pretender.send(hello('node-1'))
    expect((await pretender.ended).code).toBe(status.PERMISSION_DENIED)
    expect(await pretender.nextIfAny(0)).toBeUndefined()

    using honest = new RawStream(client.enrollment.enroll(bearer(await client.token('node-8'))))
    honest.send(hello('node-8'))
    expect(await honest.next()).toMatchObject({ pods: [], removed: [], snapshot: true })
    const uid = CALLER
    honest.send({
      message: { $case: 'report', value: { uid, state: Report_State.RELEASED, error: '' } },
    })
    await scene.mesh.controlPlane.waitForLine(/report about a pod that is not on this node/)
    await scene.mesh.announced('HBONE', [scene.meshPod('caller')])
  })
})

const hello = (node: string) => ({
  message: { $case: 'hello' as const, value: { node, leaving: false } },
})
