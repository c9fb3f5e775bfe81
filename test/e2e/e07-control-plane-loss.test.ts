import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { LabMesh } from '../../shared/lab/mesh.ts'
import { serviceObject } from '../../shared/lab/objects.ts'
import { HTTP_PORT, startApp, TCP_PORT } from './support/apps.ts'
import { captureRules } from './support/capture-rules.ts'
import { EchoConnection } from './support/echo-connection.ts'
import { Load } from './support/load.ts'
import { metric } from './support/metric.ts'
import { Scene } from './support/scene.ts'
import { inWords, WireTap } from './support/wire-tap.ts'

const METRICS_PORT = 15_014
/** Longer than a control plane takes to come back. */
const CONNECT_AGAIN_MS = 20_000

const Dump = z.object({
  services: z.array(z.object({ name: z.string() })),
  certificates: z.array(
    z.object({
      identity: z.string(),
      certChain: z.array(z.object({ serialNumber: z.string() })).min(1),
    }),
  ),
})

describe('E7 loss of the control plane', () => {
  let scene: Scene<'caller' | 'near' | 'far'>
  let mesh: LabMesh

  beforeAll(async () => {
    scene = await Scene.start({
      ambient: ['default'],
      pods: {
        caller: { node: 'node-1', serviceAccount: 'caller' },
        near: { node: 'node-1', serviceAccount: 'near' },
        far: { node: 'node-2', serviceAccount: 'far' },
      },
    })
    mesh = scene.mesh
    const pods = [scene.pod('caller'), scene.pod('near'), scene.pod('far')]
    await mesh.apply('service-leaving', [service('leaving')])
    await Promise.all([
      ...pods.map((pod) => startApp(pod, 'http-app')),
      startApp(scene.pod('far'), 'tcp-app'),
    ])
    await known('leaving', true)
  })

  afterAll(async () => {
    await scene[Symbol.asyncDispose]()
  })

  const dump = async (node: string) =>
    Dump.parse(JSON.parse(await mesh.get(mesh.node(node), 15_000, '/config_dump')))

  async function known(name: string, wanted: boolean): Promise<void> {
    await mesh.eventually(
      `service ${name} ${wanted ? 'known' : 'gone'}`,
      async () => {
        const dumps = await Promise.all(['node-1', 'node-2'].map(dump))
        return dumps.every(({ services }) => services.some((one) => one.name === name) === wanted)
      },
      CONNECT_AGAIN_MS,
    )
  }

  async function serialOf(serviceAccount: string): Promise<string | undefined> {
    const { certificates } = await dump('node-1')
    const own = certificates.find(({ identity }) => identity.endsWith(`/sa/${serviceAccount}`))
    return own?.certChain[0]?.serialNumber
  }

  const pushed = async (what: 'pushed_resources' | 'removed_resources', type: string) =>
    metric(await mesh.get(mesh.control, METRICS_PORT, '/metrics'), `ambit_xds_${what}_total`, {
      type,
    })

  test('nothing is lost, nothing is in the clear, and the return is no resend', async () => {
    const [caller, near, far] = [scene.pod('caller'), scene.pod('near'), scene.pod('far')]
    const at = { port: HTTP_PORT, perSecond: 15 }
    await using tap = new WireTap(caller, near, far, mesh.node('node-1'), mesh.node('node-2'))
    const loads = [
      new Load({ ...at, from: caller, to: far, family: 4 }),
      new Load({ ...at, from: far, to: caller, family: 6 }),
    ]
    let inTheClear = Buffer.from('')
    const secrets = loads.map(({ secret }) => secret)
    using lasting = await EchoConnection.open(caller, far.address4, TCP_PORT)
    try {
      await Promise.all(loads.map((load) => load.more(5)))
      mesh.controlPlane.kill('SIGKILL')
      expect(await mesh.controlPlane.exited).toMatchObject({ signal: 'SIGKILL' })
      await Promise.all(loads.map((load) => load.more(30)))
      await lasting.ping()
      // From outside the mesh it is in the clear; the search has to find that.
      await using outside = new Load({ ...at, from: mesh.control, to: far, family: 4 })
      await outside.more(2)
      inTheClear = outside.secret

      // A pair that never talked before needs a new HBONE connection, and so a handshake.
      const first = new Load({ ...at, from: near, to: far, family: 6 })
      secrets.push(first.secret)
      loads.push(first)
      await first.more(5)
      await first.stop()

      const serial = await serialOf('near')
      expect(serial).toBeDefined()
      await near.recreate()
      tap.add(near)
      await mesh.eventually('captured again', async () =>
        (await captureRules(near)).table.includes('redirect to :15001'),
      )
      await startApp(near, 'http-app')
      const again = [
        new Load({ ...at, from: near, to: far, family: 4 }),
        new Load({ ...at, from: caller, to: near, family: 4 }),
        new Load({ ...at, from: far, to: near, family: 6 }),
      ]
      secrets.push(...again.map((load) => load.secret))
      loads.push(...again)
      await Promise.all(again.map((load) => load.more(10)))
      expect(await serialOf('near')).toBe(serial)

      await mesh.apply('service-arriving', [service('arriving')])
      await mesh.remove('service-leaving')
      await mesh.startControlPlane()
      await known('arriving', true)
      await known('leaving', false)
      await Promise.all(loads.filter((load) => load !== first).map((load) => load.more(10)))
      await lasting.ping()
    } finally {
      await Promise.all(loads.map((load) => load.stop()))
    }
    expect(loads.flatMap(({ failures }) => failures)).toEqual([])
    expect(lasting.end).toBeUndefined()

    // To each of two nodes: what came and what went, and nothing of what it had.
    expect(await pushed('pushed_resources', 'Address')).toBe(2)
    expect(await pushed('removed_resources', 'Address')).toBe(2)
    expect(await pushed('pushed_resources', 'Authorization')).toBe(0)
    expect((await mesh.workloads('node-2')).map(({ protocol }) => protocol)).toEqual([
      'HBONE',
      'HBONE',
      'HBONE',
    ])

    const recording = await tap.stop()
    const pods = [caller, near, far]
    expect(recording.outsideHbone(pods).map(inWords)).toEqual([])
    expect(recording.hbone(pods).length).toBeGreaterThan(100)
    expect(recording.readable(inTheClear).length).toBeGreaterThan(0)
    for (const secret of secrets) expect(recording.readable(secret).map(inWords)).toEqual([])
  })

  test('after its return it governs again', async () => {
    await mesh.apply('deny', DENY_CALLER)
    const call = async () =>
      await scene
        .pod('caller')
        .exec('curl', ['-sS', '-m', '2', `http://${scene.pod('far').address4}:${HTTP_PORT}/`])
    await mesh.eventually('the policy is in force', async () => (await call()).code !== 0, 5_000)
    await mesh.remove('deny')
    await mesh.eventually('the policy is gone', async () => (await call()).code === 0, 5_000)
  })
})

const service = (name: string) =>
  serviceObject({ name, namespace: 'default', selector: { app: 'nobody' }, ports: [{ port: 80 }] })

const DENY_CALLER = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny-caller, namespace: default }
spec:
  selector: { matchLabels: { app: far } }
  action: DENY
  rules:
    - from: [{ source: { principals: [cluster.local/ns/default/sa/caller] } }]
`
