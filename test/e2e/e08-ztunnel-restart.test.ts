import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pod } from '../../shared/lab/lab.ts'
import type { LabMesh } from '../../shared/lab/mesh.ts'
import type { Place } from '../../shared/lab/place.ts'
import { request } from '../../shared/lab/request.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { HTTP_PORT, startApp, TCP_PORT } from './support/apps.ts'
import { captureRules } from './support/capture-rules.ts'
import { startDownload } from './support/download.ts'
import { EchoConnection } from './support/echo-connection.ts'
import { Load } from './support/load.ts'
import { Scene } from './support/scene.ts'
import { inWords, isFirstPacket, type Recording, WireTap } from './support/wire-tap.ts'

const DRAIN_MS = 5_000
const CUT_OFF_MS = 2_000
/** On a machine that others keep busy everything takes longer, and a program that does nothing tells how much. */
const BARE_STARTS = 15
const GIVE_UP_MS = 30_000
/** What was begun so shortly before a signal may not have reached the listener yet. */
const ON_ITS_WAY_MS = 500

/** In about three seconds. */
const DOWNLOAD = { bytes: 6_000_000, bytesPerSecond: 2_000_000 } as const

describe('E8 restart of a ztunnel', () => {
  let scene: Scene<'caller' | 'near' | 'far' | 'remote'>
  let mesh: LabMesh
  let caller: Pod
  let near: Pod
  /** On the node whose ztunnel is stopped, as is the next. */
  let far: Pod
  let remote: Pod
  let outside: Place

  beforeAll(async () => {
    scene = await Scene.start({
      ambient: ['default'],
      drain: `${DRAIN_MS}ms`,
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
    outside = mesh.control
    await Promise.all([
      ...[caller, near, far, remote, outside].map((place) => startApp(place, 'http-app')),
      ...[caller, far].map((place) => startApp(place, 'tcp-app')),
    ])
  })

  afterAll(async () => {
    await scene[Symbol.asyncDispose]()
  })

  const call = async (from: Place, to: Place): Promise<boolean> => {
    const target = { host: to.address4, port: HTTP_PORT, path: '/', timeoutMs: 2_000 }
    return await request(from, target).then(
      ({ status }) => status === 200,
      () => false,
    )
  }

  /** Every way into and out of the pods of the stopped ztunnel: into the mesh, on their node, and to the outside. */
  const ways = (): readonly (readonly [Place, Place])[] => [
    [caller, far],
    [far, caller],
    [far, remote],
    [remote, far],
    [outside, far],
    [outside, remote],
    [far, outside],
    [remote, outside],
  ]

  async function expectRefused(): Promise<void> {
    for (const [from, to] of ways()) {
      expect(await call(from, to), `${from.name} to ${to.name}`).toBe(false)
    }
    const { code, stderr } = await far.exec('curl', ['-sS', `http://${outside.address4}:8080`])
    expect(code, stderr).not.toBe(0)
  }

  async function bareStart(): Promise<number> {
    const began = performance.now()
    await outside.exec(process.execPath, [join(packageRoot(), 'cli/main.ts'), '--version'])
    return performance.now() - began
  }

  /** Starts the ztunnel; returns when everything works again, at most so long after the start as is allowed. */
  async function restart(): Promise<void> {
    const before = await bareStart()
    const began = performance.now()
    await mesh.startZtunnel('node-2', false)
    await Promise.all(
      ways().map(async ([from, to]) => {
        while (!(await call(from, to))) {
          if (performance.now() - began > GIVE_UP_MS) break
          await sleep(20)
        }
      }),
    )
    const cutOff = performance.now() - began
    const bare = Math.max(before, await bareStart())
    expect(cutOff).toBeLessThan(Math.max(CUT_OFF_MS, BARE_STARTS * bare))
    expect((await captureRules(far)).table).toContain('redirect to :15001')
    expect((await captureRules(remote)).table).toContain('redirect to :15001')
  }

  function expectNoBypass(recording: Recording): void {
    const pods = [caller, near, far, remote]
    expect(recording.outsideHbone(pods).map(inWords)).toEqual([])
    expect(recording.hbone(pods).length).toBeGreaterThan(0)
  }

  const download = async (from: Place, to: Place) =>
    await startDownload({ ...DOWNLOAD, from, to, directory: scene.lab.directory })

  test('SIGTERM: open connections may end, then are cut; new ones are refused', async () => {
    const at = { port: HTTP_PORT, perSecond: 15 }
    await using tap = new WireTap(caller, near, far, remote)
    await using unharmed = new Load({ ...at, from: caller, to: near, family: 6 })
    await using inward = new Load({ ...at, from: caller, to: far, family: 4 })
    await using outward = new Load({ ...at, from: far, to: caller, family: 6 })
    using lastingIn = await EchoConnection.open(caller, far.address6, TCP_PORT)
    using lastingOut = await EchoConnection.open(far, caller.address4, TCP_PORT)
    await Promise.all([unharmed.more(5), inward.more(5), outward.more(5)])
    const downloads = await Promise.all([
      download(caller, far),
      download(far, caller),
      download(remote, far),
    ])

    const ztunnel = mesh.ztunnel('node-2')
    const signalled = performance.now()
    ztunnel.kill('SIGTERM')
    await ztunnel.waitForLine(/"draining"/)
    await expectRefused()
    await Promise.all([lastingIn.ping(), lastingOut.ping()])
    for (const { result } of downloads) expect(await result).toEqual({ kind: 'intact' })
    expect([lastingIn.end, lastingOut.end]).toEqual([undefined, undefined])
    expect(await Promise.all([lastingIn.ended, lastingOut.ended])).toEqual([
      'ECONNRESET',
      'ECONNRESET',
    ])
    const cut = performance.now() - signalled
    expect(await ztunnel.exited).toMatchObject({ code: 0 })
    expect(cut).toBeGreaterThan(DRAIN_MS - 200)
    expect(performance.now() - signalled).toBeLessThan(DRAIN_MS + 1_500)
    expect(ztunnel.output).toContain('connection closed due to connection drain')
    expect((await captureRules(far)).table).toContain('redirect to :15001')
    await expectRefused()

    await restart()
    const restored = performance.now()
    await Promise.all([unharmed.more(5), inward.more(10), outward.more(10)])
    await Promise.all([unharmed.stop(), inward.stop(), outward.stop()])
    expect(unharmed.failures).toEqual([])
    const failures = [...inward.failures, ...outward.failures]
    expect(failures.filter((one) => one.at < signalled - ON_ITS_WAY_MS)).toEqual([])
    expect(failures.filter((one) => one.at > restored)).toEqual([])
    expect(failures.length).toBeGreaterThan(10)
    expectNoBypass(await tap.stop())
  })

  test('SIGTERM: it ends as soon as the last connection has ended', async () => {
    const { result } = await download(caller, far)
    const ztunnel = mesh.ztunnel('node-2')
    const signalled = performance.now()
    ztunnel.kill('SIGTERM')
    expect(await result).toEqual({ kind: 'intact' })
    expect(await ztunnel.exited).toMatchObject({ code: 0 })
    expect(performance.now() - signalled).toBeLessThan(DRAIN_MS - 500)
    await restart()
  })

  test('SIGKILL: new connections are refused and none bypasses', async () => {
    const at = { port: HTTP_PORT, perSecond: 15 }
    await using tap = new WireTap(caller, near, far, remote)
    await using unharmed = new Load({ ...at, from: caller, to: near, family: 4 })
    await using inward = new Load({ ...at, from: caller, to: far, family: 6 })
    await using outward = new Load({ ...at, from: far, to: caller, family: 4 })
    using lasting = await EchoConnection.open(caller, far.address4, TCP_PORT)
    await Promise.all([unharmed.more(5), inward.more(5), outward.more(5)])

    const ztunnel = mesh.ztunnel('node-2')
    const killed = performance.now()
    ztunnel.kill('SIGKILL')
    expect(await ztunnel.exited).toMatchObject({ signal: 'SIGKILL' })
    expect(await lasting.ended).toBe('ECONNRESET')
    const down = performance.now()
    const answered = [inward.answered, outward.answered]
    await expectRefused()
    await unharmed.more(15)
    expect([inward.answered, outward.answered]).toEqual(answered)
    const up = performance.now()

    await restart()
    const restored = performance.now()
    await Promise.all([unharmed.more(5), inward.more(10), outward.more(10)])
    await Promise.all([unharmed.stop(), inward.stop(), outward.stop()])
    expect(unharmed.failures).toEqual([])
    const failures = [...inward.failures, ...outward.failures]
    expect(failures.filter((one) => one.endedAt < killed)).toEqual([])
    expect(failures.filter((one) => one.at > restored)).toEqual([])

    const recording = await tap.stop()
    const left = recording.all.filter(
      (one) =>
        isFirstPacket(one) &&
        one.at > down &&
        one.at < up &&
        [far.address4, remote.address4].includes(one.packet.source),
    )
    expect(left.map(inWords)).toEqual([])
    expectNoBypass(recording)
  })

  test('SIGKILL: a restart repairs rules that are damaged', async () => {
    const intact = await captureRules(remote)
    expect(intact.table).toContain('redirect to :15001')
    const ztunnel = mesh.ztunnel('node-2')
    ztunnel.kill('SIGKILL')
    await ztunnel.exited
    const damage = [
      ['nft', ['delete', 'chain', 'inet', 'ambit', 'redirect_outbound']],
      ['nft', ['flush', 'chain', 'inet', 'ambit', 'mark_calls']],
      ['ip', ['-4', 'rule', 'del', 'priority', '32764']],
      ['ip', ['-6', 'route', 'flush', 'table', '100']],
    ] as const
    for (const [tool, args] of damage) expect((await remote.exec(tool, args)).code).toBe(0)
    await mesh.startZtunnel('node-2')
    expect(sorted(await captureRules(remote))).toEqual(sorted(intact))
    expect(await call(remote, far)).toBe(true)
  })
})

/** The chains come in the order in which they were made. */
const sorted = (rules: object) =>
  Object.values(rules).map((text) => String(text).split('\n').sort())
