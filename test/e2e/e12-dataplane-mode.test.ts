import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pod } from '../../shared/lab/lab.ts'
import type { LabMesh, MeshPod } from '../../shared/lab/mesh.ts'
import { podObject } from '../../shared/lab/objects.ts'
import { type Span, watchAnnouncements } from './support/announcements.ts'
import { HTTP_PORT, startApp, TCP_PORT } from './support/apps.ts'
import { captureRules, NO_CAPTURE } from './support/capture-rules.ts'
import { EchoConnection } from './support/echo-connection.ts'
import { Load } from './support/load.ts'
import { machineState, namesOf, processesOf } from './support/machine-state.ts'
import { Scene } from './support/scene.ts'
import { inWords, isFirstPacket, WireTap } from './support/wire-tap.ts'

const TOGGLES = 50
const NODES = ['node-1', 'node-2'] as const

describe('E12 dataplane mode', () => {
  let machine: ReturnType<typeof machineState>
  let scene: Scene<'caller' | 'near' | 'far'>
  let mesh: LabMesh
  let caller: Pod
  let far: Pod
  let toggled: MeshPod

  beforeAll(async () => {
    machine = machineState()
    scene = await Scene.start({
      ambient: ['default'],
      pods: {
        caller: { node: 'node-1', serviceAccount: 'caller' },
        near: { node: 'node-1', serviceAccount: 'near' },
        far: { node: 'node-2', serviceAccount: 'far' },
      },
    })
    mesh = scene.mesh
    caller = scene.pod('caller')
    far = scene.pod('far')
    toggled = scene.meshPod('near')
    const pods = [caller, far, toggled.pod]
    await Promise.all([
      ...pods.map((pod) => startApp(pod, 'http-app')),
      ...pods.map((pod) => startApp(pod, 'tcp-app')),
    ])
  })

  afterAll(async () => {
    await scene[Symbol.asyncDispose]()
  })

  async function label(mode: 'ambient' | 'none'): Promise<void> {
    const { name, namespace, pod } = toggled
    const addresses = [pod.address4, pod.address6]
    const labels = { app: name, 'istio.io/dataplane-mode': mode }
    const of = { name, namespace, node: 'node-1', serviceAccount: name }
    await mesh.apply(`pod-${name}`, [podObject({ ...of, addresses, labels })])
  }

  const toggle = async (mode: 'ambient' | 'none'): Promise<void> => {
    await label(mode)
    await mesh.announced(mode === 'ambient' ? 'HBONE' : 'TCP', [toggled])
  }

  test(`${TOGGLES} toggles of a pod under load lose nothing and leak nothing`, async () => {
    const { pod } = toggled
    const at = { port: HTTP_PORT, perSecond: 10 }
    await using tap = new WireTap(caller, far, pod, mesh.node('node-1'), mesh.node('node-2'))
    const watch = watchAnnouncements(mesh, toggled, NODES)
    const loads = [
      new Load({ ...at, from: far, to: pod, family: 4 }),
      new Load({ ...at, from: caller, to: pod, family: 6 }),
      new Load({ ...at, from: pod, to: far, family: 6 }),
      new Load({ ...at, from: pod, to: caller, family: 4 }),
    ]
    const lasting: EchoConnection[] = []
    let spans: readonly Span[] = []
    try {
      lasting.push(
        await EchoConnection.open(far, pod.address4, TCP_PORT),
        await EchoConnection.open(pod, far.address6, TCP_PORT),
      )
      for (let count = 1; count <= TOGGLES; count++) {
        await label(count % 2 === 0 ? 'ambient' : 'none')
        lasting.push(
          ...(await Promise.all([
            EchoConnection.open(caller, pod.address4, TCP_PORT),
            EchoConnection.open(pod, far.address4, TCP_PORT),
          ])),
        )
        await mesh.announced(count % 2 === 0 ? 'HBONE' : 'TCP', [toggled])
        await Promise.all(lasting.map((one) => one.ping()))
        await Promise.all(loads.map((load) => load.more(2)))
      }
      expect(lasting.map(({ end }) => end).filter((end) => end !== undefined)).toEqual([])
    } finally {
      await Promise.all(loads.map((load) => load.stop()))
      spans = await watch.stop()
      for (const one of lasting) one[Symbol.dispose]()
    }
    expect(loads.flatMap(({ failures }) => failures)).toEqual([])
    expect(loads.map(({ skipped }) => skipped)).toEqual([0, 0, 0, 0])

    const recording = await tap.stop()
    const plain = recording.outsideHbone([caller, far, pod]).filter(isFirstPacket)
    const within = plain.filter((one) => spans.some(({ from, to }) => one.at > from && one.at < to))
    expect(within.map(inWords)).toEqual([])
    // It began and ended as HBONE, and in between the same taps heard the calls in the clear.
    expect(spans).toHaveLength(TOGGLES / 2 + 1)
    expect(plain.length).toBeGreaterThan(TOGGLES)
    for (const { from, to } of spans) {
      const calls = recording.hbone([caller, far, pod]).filter(({ at }) => at > from && at < to)
      expect(calls).not.toEqual([])
    }
  })

  test('a pod that left for good keeps nothing of ours, and can come back', async () => {
    const { pod } = toggled
    const load = { port: HTTP_PORT, perSecond: 10 }
    await using inward = new Load({ ...load, from: far, to: pod })
    await using outward = new Load({ ...load, from: pod, to: far })
    using lasting = await EchoConnection.open(far, pod.address4, TCP_PORT)
    expect((await captureRules(pod)).table).toContain('redirect to :15001')
    await toggle('none')
    await mesh.eventually('the redirects are gone', async () => {
      const { table } = await captureRules(pod)
      return table !== '' && !table.includes('redirect to')
    })
    await lasting.ping()
    lasting[Symbol.dispose]()
    await mesh.eventually('nothing of the capture is left', async () => {
      const { table, routing4, routing6 } = await captureRules(pod)
      return table + routing4 + routing6 === ''
    })
    expect(await captureRules(pod)).toEqual(NO_CAPTURE)
    expect(pod.isListening(15_008)).toBe(false)
    await Promise.all([inward.more(3), outward.more(3)])
    await toggle('ambient')
    await Promise.all([inward.more(3), outward.more(3)])
    await Promise.all([inward.stop(), outward.stop()])
    expect([...inward.failures, ...outward.failures]).toEqual([])
  })

  test('removing the mesh leaves the machine as it was', async () => {
    const { lab } = scene
    const processes = processesOf(lab.prefix)
    expect(processes.length).toBeGreaterThanOrEqual(9)
    await scene[Symbol.asyncDispose]()
    expect(processes.filter((one) => one.isRunning())).toEqual([])
    expect(namesOf(lab)).toEqual([])
    expect(machineState()).toEqual(machine)
  })
})
