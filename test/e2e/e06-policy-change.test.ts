import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { podObject, toYaml } from '../../shared/lab/objects.ts'
import { startApp, TCP_PORT } from './support/apps.ts'
import { applyCase } from './support/case-policies.ts'
import { EchoConnection } from './support/echo-connection.ts'
import { Scene } from './support/scene.ts'
import { allow, deny, from, peers, to } from './support/security-objects.ts'
import { SLOW, startWebServer } from './support/web-server.ts'

const PODS = {
  server: { node: 'node-2', serviceAccount: 'server' },
  caller: { node: 'node-1', serviceAccount: 'caller' },
  near: { node: 'node-2', serviceAccount: 'near' },
  friend: { node: 'node-1', serviceAccount: 'friend' },
  legacy: { node: 'node-1', namespace: 'legacy' },
} as const
type Name = keyof typeof PODS

const HTTP_PORT = 8_080
const WITHIN_MS = 1_000
const FAMILIES = [4, 6] as const

let scene: Scene<Name>

beforeAll(async () => {
  scene = await Scene.start({ ambient: ['default'], pods: PODS })
  await Promise.all([
    startWebServer(scene.pod('server'), join(scene.lab.directory, 'nginx'), [HTTP_PORT]),
    startApp(scene.pod('server'), 'tcp-app'),
  ])
})
afterAll(async () => await scene?.[Symbol.asyncDispose]())

const SERVER = { selector: { app: 'server' } }
const principal = (name: string): string => `cluster.local/ns/default/sa/${name}`
const ofCaller = from({ principals: [principal('caller')] })
const ofFriend = from({ principals: [principal('friend')] })

interface Change {
  readonly who: Name
  readonly before: readonly object[]
  readonly after: readonly object[]
}

const CHANGES: Readonly<Record<string, Change>> = {
  'a DENY policy that comes': { who: 'caller', before: [], after: [deny([ofCaller], SERVER)] },
  'a DENY policy that comes, on one node': {
    who: 'near',
    before: [],
    after: [deny([from({ principals: [principal('near')] })], SERVER)],
  },
  'a DENY policy that gets another rule': {
    who: 'caller',
    before: [deny([to({ ports: ['1'] })], SERVER)],
    after: [deny([to({ ports: ['1'] }), ofCaller], SERVER)],
  },
  'a first ALLOW policy, for others': {
    who: 'caller',
    before: [],
    after: [allow([ofFriend], SERVER)],
  },
  'an ALLOW policy that names the caller no more': {
    who: 'caller',
    before: [allow([ofCaller, ofFriend], SERVER)],
    after: [allow([ofFriend], SERVER)],
  },
  'an ALLOW policy that goes, of two': {
    who: 'caller',
    before: [allow([ofFriend], SERVER), allow([ofCaller], { ...SERVER, name: 'second' })],
    after: [allow([ofFriend], SERVER)],
  },
  'a policy of the mesh': {
    who: 'caller',
    before: [],
    after: [deny([ofCaller], { namespace: 'istio-system', selector: null })],
  },
  'STRICT, for a caller without identity': {
    who: 'legacy',
    before: [],
    after: [peers('STRICT', { selector: null })],
  },
}

/** Connections of one pod, each in the middle of something. */
class Open implements AsyncDisposable {
  readonly #echoes: readonly EchoConnection[]
  readonly #downloads: ReturnType<typeof download>[]

  private constructor(echoes: readonly EchoConnection[], who: Name) {
    this.#echoes = echoes
    this.#downloads = FAMILIES.map((family) => download(who, family))
  }

  static async from(who: Name): Promise<Open> {
    const { address4, address6 } = scene.pod('server')
    const echoes = await Promise.all(
      [address4, address6].map((host) => EchoConnection.open(scene.pod(who), host, TCP_PORT)),
    )
    const open = new Open(echoes, who)
    await Promise.all(open.#downloads.map((one) => one.waitForLine(/^< Content-Length/i)))
    return open
  }

  /** How the two idle ones ended. */
  async idleEnds(): Promise<readonly string[]> {
    return await Promise.all(this.#echoes.map((echo) => echo.ended))
  }

  /** What curl says about the two downloads. */
  async downloadEnds(): Promise<readonly (number | null)[]> {
    return await Promise.all(this.#downloads.map(async (one) => (await one.exited).code))
  }

  async expectOpen(): Promise<void> {
    await Promise.all(this.#echoes.map((echo) => echo.ping()))
    expect(this.#downloads.map((one) => one.exit)).toEqual([undefined, undefined])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const echo of this.#echoes) echo[Symbol.dispose]()
    await Promise.all(this.#downloads.map((one) => one.stop()))
  }
}

function download(who: Name, family: 4 | 6) {
  const url = `http://${scene.host('server', family)}:${HTTP_PORT}${SLOW}`
  const args = ['-gsSv', '-o', '/dev/null', url]
  return scene.pod(who).spawn('curl', args)
}

/** curl: "failure in receiving network data". */
const CURL_RECEIVE = 56

/** Makes the change, and measures how long until every connection of the one it concerns is reset. */
async function expectClosedBy(change: () => Promise<void>, who: Name): Promise<void> {
  await using friend = await Open.from('friend')
  await using denied = await Open.from(who)
  await denied.expectOpen()
  const began = performance.now()
  await change()
  expect(await denied.idleEnds()).toEqual(['ECONNRESET', 'ECONNRESET'])
  expect(await denied.downloadEnds()).toEqual([CURL_RECEIVE, CURL_RECEIVE])
  expect(performance.now() - began).toBeLessThan(WITHIN_MS)
  await friend.expectOpen()
}

describe('E6 a policy that now denies an open connection closes it within a second', () => {
  test.each(Object.entries(CHANGES))('%s', async (_name, { who, before, after }) => {
    await applyCase(scene.mesh, 'node-2', before)
    await expectClosedBy(() => scene.mesh.apply('case', toYaml(after)), who)
  })

  test('a pod that comes under a policy by its labels', async () => {
    const { mesh } = scene
    await applyCase(mesh, 'node-2', [deny([ofCaller], { selector: { sealed: 'yes' } })])
    const { address4, address6 } = scene.pod('server')
    const labelled = podObject({
      name: 'server',
      namespace: 'default',
      node: 'node-2',
      serviceAccount: 'server',
      labels: { app: 'server', sealed: 'yes' },
      addresses: [address4, address6],
    })
    await expectClosedBy(() => mesh.apply('pod-server', [labelled]), 'caller')
  })

  test('the log says why', async () => {
    await scene.mesh
      .ztunnel('node-2')
      .waitForLine(/"src\.workload":"caller".*connection closed due to policy change/)
  })
})
