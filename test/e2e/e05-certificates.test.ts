import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { IdentityMaterial } from '../../shared/identity/identity-material.ts'
import type { BadCertificate, TestingAuthority } from '../../shared/identity/testing-authority.ts'
import { formatEndpoint } from '../../shared/runtime/ip-address.ts'
import { HTTP_PORT, startApp } from './support/apps.ts'
import { attempt, authorityOf } from './support/raw-tls.ts'
import { Scene } from './support/scene.ts'
import { TlsPeer } from './support/tls-peer.ts'
import { HBONE_PORT } from './support/wire-tap.ts'

/** `peer` says of itself that it speaks HBONE, so callers tunnel to it; what is behind it is the test's own server. */
const PODS = {
  caller: { node: 'node-1', serviceAccount: 'caller' },
  server: { node: 'node-2', serviceAccount: 'server' },
  outsider: { node: 'node-1', namespace: 'legacy' },
  peer: {
    node: 'node-2',
    serviceAccount: 'peer',
    labels: { 'istio.io/dataplane-mode': 'none', 'networking.istio.io/tunnel': 'http' },
  },
} as const

let scene: Scene<keyof typeof PODS>
let authority: TestingAuthority

beforeAll(async () => {
  scene = await Scene.start({ ambient: ['default'], pods: PODS })
  authority = authorityOf(scene.mesh)
  await startApp(scene.pod('server'), 'http-app')
  await scene.mesh.announced('HBONE', [scene.meshPod('peer')])
})
afterAll(async () => await scene?.[Symbol.asyncDispose]())

const idOf = (name: string): string => `spiffe://cluster.local/ns/default/sa/${name}`

const tlsOf = ({ keyPem, chainPem }: IdentityMaterial) => ({ key: keyPem, cert: chainPem })

/** Words that an operator must find in the log. */
const FAULTS: readonly (readonly [BadCertificate, RegExp])[] = [
  ['expired', /expired/],
  ['not-yet-valid', /not (valid )?yet( valid)?/],
  ['no-spiffe-san', /no SPIFFE URI/],
  ['no-san', /no SPIFFE URI/],
  ['two-sans', /2 URIs where exactly one/],
  ['self-signed', /self-signed/],
  ['unknown-authority', /authority that is not trusted/],
]

describe('E5 ztunnel as the server', () => {
  /** The line about the connection from this end, as `refused` writes it. */
  async function expectRefused(
    from: 'outsider' | 'caller',
    host: string,
    options: Parameters<typeof attempt>[2],
    fault: RegExp,
  ): Promise<void> {
    const { local, outcome } = await attempt(scene.pod(from), host, options)
    expect(outcome).not.toBe('served')
    const literal = local.replaceAll(/[[\].]/g, String.raw`\$&`)
    const line = await scene.mesh
      .ztunnel('node-2')
      .waitForLine(new RegExp(`"src\\.addr":"${literal}"`))
    expect(JSON.parse(line)).toMatchObject({
      level: 'warn',
      'src.addr': local,
      'dst.addr': formatEndpoint(host, HBONE_PORT),
      'dst.workload': 'server',
      'dst.namespace': 'default',
      error: expect.stringMatching(fault),
    })
  }

  test.each(FAULTS)('a client whose certificate is %s', async (fault, text) => {
    const { address4, address6 } = scene.pod('server')
    const options = tlsOf(authority.badMaterial(idOf('caller'), fault))
    await expectRefused('outsider', address4, options, text)
    await expectRefused('outsider', address6, options, text)
  })

  test.each([
    [
      'of another trust domain',
      'foreign-trust-domain',
      /another trust domain than "cluster\.local"/,
    ],
    ['for servers only', 'server-only', /not for this side of TLS/],
  ] as const)('a client whose certificate is %s', async (_name, fault, text) => {
    const options = tlsOf(authority.badMaterial(idOf('caller'), fault))
    await expectRefused('outsider', scene.pod('server').address4, options, text)
  })

  test('a client without a certificate', async () => {
    const fault = /the peer sent no certificate/
    await expectRefused('outsider', scene.pod('server').address4, {}, fault)
  })

  test('a client with TLS 1.2', async () => {
    const options = { ...tlsOf(authority.material(idOf('caller'))), maxVersion: 'TLSv1.2' } as const
    await expectRefused('outsider', scene.pod('server').address4, options, /TLS 1\.3/)
  })

  test('a client that offers another protocol', async () => {
    const options = { ...tlsOf(authority.material(idOf('caller'))), ALPNProtocols: ['http/1.1'] }
    await expectRefused('outsider', scene.pod('server').address4, options, /h2/)
  })

  test('serves a good one, and resumes no session', async () => {
    const { address4 } = scene.pod('server')
    const options = tlsOf(authority.material(idOf('caller')))
    const first = await attempt(scene.pod('outsider'), address4, options)
    expect(first.outcome).toBe('served')
    const { session } = first
    const again = session === undefined ? options : { ...options, session }
    expect(await attempt(scene.pod('outsider'), address4, again)).toMatchObject({
      outcome: 'served',
      isSessionReused: false,
    })
  })
})

describe('E5 ztunnel as the client', () => {
  const call = async () => {
    const url = `http://${scene.pod('peer').address4}:${HTTP_PORT}/`
    return await scene.pod('caller').exec('curl', ['-sS', '-m', '8', url])
  }

  async function expectRefused(
    options: Parameters<typeof TlsPeer.start>[1],
    fault: RegExp,
  ): Promise<void> {
    await using peer = await TlsPeer.start(scene.pod('peer'), options)
    const before = failures().length
    const { code, stdout } = await call()
    expect({ code, stdout }).not.toMatchObject({ code: 0 })
    expect(stdout).toBe('')
    expect(peer.tunnels).toEqual([])
    await scene.mesh.eventually('a line in the log', async () => {
      await Promise.resolve()
      return failures().length > before
    })
    expect(JSON.parse(failures()[before] ?? '')).toMatchObject({
      level: 'error',
      'src.workload': 'caller',
      'src.namespace': 'default',
      'dst.workload': 'peer',
      'dst.addr': formatEndpoint(scene.pod('peer').address4, HBONE_PORT),
      error: expect.stringMatching(fault),
    })
  }

  const failures = (): readonly string[] =>
    scene.mesh
      .ztunnel('node-1')
      .output.split('\n')
      .filter((line) => line.includes('"direction":"outbound"') && line.includes('"error"'))

  test.each(FAULTS)('a server whose certificate is %s', async (fault, text) => {
    await expectRefused(tlsOf(authority.badMaterial(idOf('peer'), fault)), text)
  })

  test.each([
    ['of another trust domain', 'foreign-trust-domain', /spiffe:\/\/foreign\.example\/ns\/default/],
    ['for clients only', 'client-only', /not for this side of TLS/],
  ] as const)('a server whose certificate is %s', async (_name, fault, text) => {
    await expectRefused(tlsOf(authority.badMaterial(idOf('peer'), fault)), text)
  })

  test('a server that is another workload of the mesh', async () => {
    const fault = new RegExp(`the peer is ${idOf('server')}, expected "${idOf('peer')}"`)
    await expectRefused(tlsOf(authority.material(idOf('server'))), fault)
  })

  test('a server with TLS 1.2', async () => {
    const options = { ...tlsOf(authority.material(idOf('peer'))), maxVersion: 'TLSv1.2' } as const
    await expectRefused(options, /TLS 1\.3/)
  })

  test('calls a good one, and shows it the identity of the calling pod', async () => {
    const options = {
      ...tlsOf(authority.material(idOf('peer'))),
      ca: authority.rootsPem,
      requestCert: true,
      rejectUnauthorized: true,
    }
    await using peer = await TlsPeer.start(scene.pod('peer'), options)
    expect(await call()).toMatchObject({ code: 0, stdout: 'welcome\n' })
    expect(peer.tunnels).toEqual([formatEndpoint(scene.pod('peer').address4, HTTP_PORT)])
    expect(peer.callers).toEqual([idOf('caller')])
  })
})
