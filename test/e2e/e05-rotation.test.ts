import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestingAuthority } from '../../shared/identity/testing-authority.ts'
import { HTTP_PORT, startApp, TCP_PORT } from './support/apps.ts'
import { EchoConnection } from './support/echo-connection.ts'
import { attempt, authorityOf } from './support/raw-tls.ts'
import { Scene } from './support/scene.ts'
import { HBONE_PORT } from './support/wire-tap.ts'

const PODS = {
  caller: { node: 'node-1', serviceAccount: 'caller' },
  server: { node: 'node-2', serviceAccount: 'server' },
  outsider: { node: 'node-1', namespace: 'legacy' },
} as const

/** The shortest there is; half of it later a certificate is renewed. */
const TTL = '10s'
const ROTATION_MS = 15_000

let scene: Scene<keyof typeof PODS>
let authority: TestingAuthority

beforeAll(async () => {
  scene = await Scene.start({
    ambient: ['default'],
    pods: PODS,
    ztunnelArgs: ['--secret-ttl', TTL],
  })
  authority = authorityOf(scene.mesh)
  await startApp(scene.pod('server'), 'http-app')
  await startApp(scene.pod('server'), 'tcp-app')
})
afterAll(async () => await scene?.[Symbol.asyncDispose]())

/** A client of the mesh's own CA, as anybody may be who has an identity. */
const good = () => {
  const { keyPem, chainPem } = authority.material('spiffe://cluster.local/ns/default/sa/caller')
  return { key: keyPem, cert: chainPem }
}

/** What the server's ztunnel presents to new clients. */
async function presented(): Promise<X509Certificate> {
  const { outcome, certificate } = await attempt(
    scene.pod('outsider'),
    scene.pod('server').address4,
    good(),
  )
  expect(outcome).toBe('served')
  return new X509Certificate(certificate ?? Buffer.alloc(0))
}

async function nextCertificate(after: X509Certificate): Promise<X509Certificate> {
  let next = after
  await scene.mesh.eventually(
    'another certificate',
    async () => {
      next = await presented()
      return next.serialNumber !== after.serialNumber
    },
    ROTATION_MS,
  )
  return next
}

const openssl = async (...args: readonly string[]): Promise<string> => {
  const at = `${scene.pod('server').address4}:${HBONE_PORT}`
  const all = ['s_client', '-connect', at, '-alpn', 'h2', '-ign_eof', ...args]
  const { stdout, stderr } = await scene.pod('outsider').exec('openssl', all, { timeoutMs: 3_000 })
  return stdout + stderr
}

async function expectRefusals(): Promise<void> {
  const { address4 } = scene.pod('server')
  const old = { ...good(), maxVersion: 'TLSv1.2' } as const
  expect((await attempt(scene.pod('outsider'), address4, old)).outcome).toBe(
    'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
  )
  expect((await attempt(scene.pod('outsider'), address4, {})).outcome).not.toBe('served')
  expect(await openssl('-tls1_2')).toMatch(/alert protocol version/)
  expect(await openssl('-tls1_3')).toMatch(/alert certificate required/)
}

describe('E5 after a rotation', () => {
  test('TLS 1.2 and a client without a certificate are still refused, and open tunnels live on', async () => {
    const { address4, address6 } = scene.pod('server')
    const first = await presented()
    using one = await EchoConnection.open(scene.pod('caller'), address4, TCP_PORT)
    using other = await EchoConnection.open(scene.pod('caller'), address6, TCP_PORT)
    await expectRefusals()
    const second = await nextCertificate(first)
    await expectRefusals()
    const third = await nextCertificate(second)
    await expectRefusals()

    // Both ends have other certificates by now, and the first has expired.
    await scene.mesh.eventually('the first certificate expires', async () => {
      await Promise.resolve()
      return Date.parse(first.validTo) < Date.now()
    })
    expect(new Set([first, second, third].map(({ publicKey }) => keyOf(publicKey))).size).toBe(3)
    await Promise.all([one.ping(), other.ping()])
    expect([one.end, other.end]).toEqual([undefined, undefined])

    const { code } = await scene
      .pod('caller')
      .exec('curl', ['-fsS', '-m', '5', `http://${address4}:${HTTP_PORT}/`])
    expect(code).toBe(0)
  })
})

const keyOf = (key: X509Certificate['publicKey']): string =>
  key.export({ type: 'spki', format: 'pem' }).toString()
