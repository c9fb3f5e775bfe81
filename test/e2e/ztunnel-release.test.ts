import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pod } from '../../shared/lab/lab.ts'
import type { LabMesh } from '../../shared/lab/mesh.ts'
import type { Place } from '../../shared/lab/place.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { watchAnnouncements } from './support/announcements.ts'
import { HTTP_PORT, startApp } from './support/apps.ts'
import { captureRules, NO_CAPTURE } from './support/capture-rules.ts'
import { Load } from './support/load.ts'
import { Scene } from './support/scene.ts'
import { inWords, isFirstPacket, WireTap } from './support/wire-tap.ts'

describe('ambit ztunnel --release', () => {
  let scene: Scene<'caller' | 'near' | 'far' | 'remote'>
  let mesh: LabMesh
  let caller: Pod
  let near: Pod
  /** On the node that is released, as is the next. */
  let far: Pod
  let remote: Pod

  beforeAll(async () => {
    scene = await Scene.start({
      ambient: ['default'],
      pods: {
        caller: { node: 'node-1', serviceAccount: 'caller' },
        near: { node: 'node-1', serviceAccount: 'near' },
        far: { node: 'node-2', serviceAccount: 'far' },
        remote: { node: 'node-2', serviceAccount: 'remote' },
      },
    })
    mesh = scene.mesh
    caller = scene.pod('caller')
    near = scene.pod('near')
    far = scene.pod('far')
    remote = scene.pod('remote')
    await Promise.all([caller, near, far, remote].map((pod) => startApp(pod, 'http-app')))
  })

  afterAll(async () => {
    await scene[Symbol.asyncDispose]()
  })

  const release = async () => {
    const settings = {
      node: 'node-2',
      'xds-address': mesh.controlPlaneUrl,
      'ca-root': mesh.rootFile,
      token: mesh.tokenFile('node-2'),
      'netns-scope': scene.lab.prefix,
    }
    const given = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    const args = [join(packageRoot(), 'cli/main.ts'), 'ztunnel', '--release', ...given]
    return await mesh.node('node-2').exec(process.execPath, args, { timeoutMs: 20_000 })
  }

  const stopZtunnel = async (): Promise<void> => {
    expect(await mesh.ztunnel('node-2').stop(10_000)).toMatchObject({ code: 0 })
  }

  /** As the ztunnel of the other node knows them. */
  async function protocols(): Promise<Readonly<Record<string, string>>> {
    const known = await mesh.workloads('node-1')
    return Object.fromEntries(known.map(({ uid, protocol }) => [uid.split('/').at(-1), protocol]))
  }

  const call = async (from: Place, to: Place): Promise<number | null> => {
    const url = `http://${to.address4}:${HTTP_PORT}/`
    return (await from.exec('curl', ['-sS', '--fail', '-m', '2', '-o', '/dev/null', url])).code
  }

  const ALL_HBONE = { caller: 'HBONE', near: 'HBONE', far: 'HBONE', remote: 'HBONE' } as const
  const HALF_HBONE = { ...ALL_HBONE, far: 'TCP', remote: 'TCP' } as const

  test('refuses while a ztunnel serves the node, and changes nothing', async () => {
    const before = await captureRules(far)
    const { code, stdout, stderr } = await release()
    expect(code).toBe(1)
    expect(stdout + stderr).toMatch(/a ztunnel is running on this node .*stop it first/)
    expect(await captureRules(far)).toEqual(before)
    expect(await protocols()).toEqual(ALL_HBONE)
    expect(await call(caller, far)).toBe(0)
  })

  test('takes its pods out of the mesh: announced as plain first, then set free', async () => {
    const captured = await captureRules(near)
    await stopZtunnel()
    expect(await call(far, caller)).not.toBe(0)
    expect(await call(caller, far)).not.toBe(0)

    await using tap = new WireTap(caller, near, far, remote)
    const watch = watchAnnouncements(mesh, scene.meshPod('far'), ['node-1'])
    const at = { port: HTTP_PORT, perSecond: 20 }
    await using inward = new Load({ ...at, from: caller, to: far, family: 4 })
    await using outward = new Load({ ...at, from: far, to: caller, family: 6 })
    const { code, stdout, stderr } = await release()
    expect(code, stdout + stderr).toBe(0)
    await Promise.all([inward.more(5), outward.more(5)])
    await Promise.all([inward.stop(), outward.stop()])
    const spans = await watch.stop()
    const recording = await tap.stop()

    expect(await captureRules(far)).toEqual(NO_CAPTURE)
    expect(await captureRules(remote)).toEqual(NO_CAPTURE)
    expect(await captureRules(near)).toEqual(captured)
    expect(await protocols()).toEqual(HALF_HBONE)
    expect(await call(far, remote)).toBe(0)
    expect(await call(near, remote)).toBe(0)
    expect(await call(caller, near)).toBe(0)

    const plain = recording.outsideHbone([caller, far]).filter(isFirstPacket)
    const early = plain.filter((one) => spans.some(({ from, to }) => one.at > from && one.at < to))
    expect(early.map(inWords)).toEqual([])
    expect(spans).toHaveLength(1)
    expect(plain.length).toBeGreaterThan(0)
  })

  test('the control plane remembers it, and a new ztunnel takes them in again', async () => {
    mesh.controlPlane.kill('SIGKILL')
    await mesh.controlPlane.exited
    await mesh.startControlPlane()
    await mesh.apply('marker', MARKER)
    await mesh.eventually('node-1 hears of the new control plane', async () =>
      (await mesh.get(mesh.node('node-1'), 15_000, '/config_dump')).includes('marker-policy'),
    )
    expect(await protocols()).toEqual(HALF_HBONE)
    await mesh.startZtunnel('node-2')
    await mesh.captured(scene.meshPod('far'), scene.meshPod('remote'))
    expect((await captureRules(far)).table).toContain('redirect to :15001')
    expect(await call(caller, far)).toBe(0)
    expect(await call(remote, caller)).toBe(0)
  })

  test('without a control plane the rules go all the same, and peers that were not told refuse', async () => {
    mesh.controlPlane.kill('SIGKILL')
    await mesh.controlPlane.exited
    await stopZtunnel()
    const { code, stdout, stderr } = await release()
    expect(code, stdout + stderr).toBe(0)
    expect(stdout + stderr).toMatch(/did not announce the release in time/)
    expect(await captureRules(far)).toEqual(NO_CAPTURE)
    expect(await protocols()).toEqual(ALL_HBONE)
    expect(await call(caller, far)).not.toBe(0)
    await mesh.startControlPlane()
    await mesh.startZtunnel('node-2')
    await mesh.captured(scene.meshPod('far'), scene.meshPod('remote'))
    expect(await call(caller, far)).toBe(0)
  })
})

const MARKER = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: marker-policy, namespace: elsewhere }
spec: { action: DENY, rules: [{ to: [{ operation: { ports: ["1"] } }] }] }
`
