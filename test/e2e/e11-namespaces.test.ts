import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pod } from '../../shared/lab/lab.ts'
import type { LabProcess } from '../../shared/lab/lab-process.ts'
import { podObject } from '../../shared/lab/objects.ts'
import { captureRules, NO_CAPTURE } from './support/capture-rules.ts'
import { Scene } from './support/scene.ts'

const PODS = { neighbour: { node: 'node-1', serviceAccount: 'neighbour' } } as const
const LISTENERS = [15_001, 15_006, 15_008]

let scene: Scene<keyof typeof PODS>

beforeAll(async () => {
  scene = await Scene.start({ ambient: ['default'], nodes: ['node-1'], pods: PODS })
})
afterAll(async () => await scene?.[Symbol.asyncDispose]())

/** The object of a pod whose namespace is somebody else's matter. */
const announce = async (name: string, address: string): Promise<string> => {
  await scene.mesh.apply(`pod-${name}`, [
    podObject({
      name,
      namespace: 'default',
      node: 'node-1',
      serviceAccount: name,
      addresses: [address],
    }),
  ])
  return `Kubernetes//Pod/default/${name}`
}

const protocolOf = async (uid: string): Promise<string | undefined> =>
  (await scene.mesh.workloads('node-1')).find((one) => one.uid === uid)?.protocol

/** A pod that comes later and is captured shows that the node had looked at all before it. */
let witnesses = 0
async function aLaterPodIsCaptured(): Promise<void> {
  await scene.mesh.captured(
    await scene.mesh.addPod(`witness-${++witnesses}`, {
      node: 'node-1',
      serviceAccount: 'neighbour',
    }),
  )
}

async function expectNothingFor(name: string, uid: string): Promise<void> {
  expect(await protocolOf(uid)).toBe('TCP')
  const { mesh } = scene
  const identity = `spiffe://cluster.local/ns/default/sa/${name}`
  expect(mesh.controlPlane.output).not.toContain(`"identity":"${identity}"`)
  expect(await mesh.get(mesh.node('node-1'), 15_000, '/config_dump')).not.toContain(identity)
}

const expectUntouched = async (pod: Pod): Promise<void> => {
  expect(await captureRules(pod)).toEqual(NO_CAPTURE)
  expect(LISTENERS.filter((port) => pod.isListening(port))).toEqual([])
}

const NOBODY = '65534'

describe('E11 a user namespace of somebody without privileges', () => {
  /** What anyone may do: be root in a user namespace of their own, with a network of which they hold all. */
  async function claim(address: string): Promise<LabProcess> {
    const script = `
      ip link add eth0 type veth peer name other
      ip link set other up
      ip link set eth0 up
      ip addr add ${address}/24 dev eth0
      ip route add default dev eth0
      echo claimed
      exec sleep 300`
    const unshare = ['unshare', '--user', '--map-root-user', '--net', 'sh', '-ec', script]
    const claimant = scene.mesh
      .node('node-1')
      .spawn('setpriv', ['--reuid', NOBODY, '--regid', NOBODY, '--clear-groups', ...unshare])
    await claimant.waitForLine(/^claimed$/)
    return claimant
  }

  const inside = (claimant: LabProcess, ...command: readonly string[]): string =>
    execFileSync('nsenter', ['-t', String(claimant.pid), '-n', ...command], { encoding: 'utf8' })

  const expectLeftAlone = (claimant: LabProcess): void => {
    expect(inside(claimant, 'nft', 'list', 'ruleset')).toBe('')
    expect(inside(claimant, 'ss', '-Htln')).toBe('')
  }

  test("that claims a pod's address gets nothing, under whatever name it stands", async () => {
    const { mesh, lab } = scene
    const address = '10.244.1.77'
    const claimant = await claim(address)
    const uid = await announce('victim', address)
    await aLaterPodIsCaptured()
    expectLeftAlone(claimant)
    await expectNothingFor('victim', uid)

    // Even where pods are looked for, which takes root: its owner tells.
    const name = `${lab.prefix}claimed`
    const path = join('/var/run/netns', name)
    try {
      writeFileSync(path, '')
      execFileSync('mount', ['--bind', `/proc/${claimant.pid}/ns/net`, path])
      const line = await mesh
        .ztunnel('node-1')
        .waitForLine(/a namespace of another user namespace is not a pod/)
      expect(JSON.parse(line)).toMatchObject({ level: 'warn', name })
      await aLaterPodIsCaptured()
      expectLeftAlone(claimant)
      await expectNothingFor('victim', uid)

      // Nor does it keep the pod itself from being captured.
      const pod = await mesh
        .node('node-1')
        .pod('victim', { addresses: { address4: address, address6: 'fd00:244:1::77' } })
      await mesh.announced('HBONE', [{ name: 'victim', namespace: 'default', uid, pod }])
      expect((await captureRules(pod)).table).not.toBe('')
      expectLeftAlone(claimant)
    } finally {
      execFileSync('ip', ['netns', 'delete', name])
      await claimant.stop()
    }
  })
})

describe('E11 two namespaces with one address', () => {
  const twin = async (name: string, address: string, last: string): Promise<Pod> =>
    await scene.mesh
      .node('node-1')
      .pod(name, { addresses: { address4: address, address6: `fd00:244:1::${last}` } })

  const conflictNaming = (uid: string, pods: readonly Pod[]): RegExp => {
    const looks = pods.map((pod) => `(?=.*${pod.namespaceName})`).join('')
    return new RegExp(`^(?=.*"uid":"${uid}")${looks}`)
  }

  test('neither is enrolled, both are reported; one of them alone is', async () => {
    const { mesh } = scene
    const address = '10.244.1.88'
    const pods = [await twin('one', address, '88'), await twin('two', address, '89')] as const
    const uid = await announce('twin', address)
    const naming = conflictNaming(uid, pods)
    await mesh.ztunnel('node-1').waitForLine(naming)
    expect(JSON.parse(await mesh.controlPlane.waitForLine(naming))).toMatchObject({
      level: 'warn',
      node: 'node-1',
      error: expect.stringContaining(`${address} is owned by several namespaces`),
    })
    await aLaterPodIsCaptured()
    await expectNothingFor('twin', uid)
    await Promise.all(pods.map(expectUntouched))

    await pods[1].remove()
    await mesh.announced('HBONE', [{ name: 'twin', namespace: 'default', uid, pod: pods[0] }])
    expect((await captureRules(pods[0])).table).not.toBe('')
  })

  test('one that comes later gets nothing, and the first goes on', async () => {
    const { mesh } = scene
    const address = '10.244.1.99'
    const first = await twin('first', address, '99')
    const uid = await announce('kept', address)
    await mesh.announced('HBONE', [{ name: 'kept', namespace: 'default', uid, pod: first }])
    const late = await twin('late', address, '9a')
    const naming = conflictNaming(uid, [first, late])
    await mesh.ztunnel('node-1').waitForLine(naming)
    await mesh.controlPlane.waitForLine(naming)
    await aLaterPodIsCaptured()
    await expectUntouched(late)
    expect((await captureRules(first)).table).not.toBe('')
    expect(await protocolOf(uid)).toBe('HBONE')
  })
})
