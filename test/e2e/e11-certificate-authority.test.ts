import { generateKeyPairSync } from 'node:crypto'
import { type ServiceError, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseCertificates } from '../../shared/identity/certificate.ts'
import { createKeyAndCsr } from '../../shared/identity/csr.ts'
import { podObject } from '../../shared/lab/objects.ts'
import { bearer, ControlClient, deadline } from './support/control-client.ts'
import { Scene } from './support/scene.ts'

const PODS = {
  caller: { node: 'node-1', serviceAccount: 'caller' },
  server: { node: 'node-2', serviceAccount: 'server' },
} as const

let scene: Scene<keyof typeof PODS>
let client: ControlClient

beforeAll(async () => {
  scene = await Scene.start({ ambient: ['default'], pods: PODS })
  client = await ControlClient.open(scene.mesh)
  const finished = (phase: 'Succeeded' | 'Failed'): object =>
    podObject({
      name: phase.toLowerCase(),
      namespace: 'default',
      node: 'node-1',
      serviceAccount: phase.toLowerCase(),
      addresses: ['10.244.1.200'],
      phase,
    })
  await scene.mesh.apply('finished', [finished('Succeeded'), finished('Failed')])
})
afterAll(async () => {
  client?.[Symbol.dispose]()
  await scene?.[Symbol.asyncDispose]()
})

const idOf = (name: string, trustDomain = 'cluster.local'): string =>
  `spiffe://${trustDomain}/ns/default/sa/${name}`

async function ask(token: string | undefined, identity: string | undefined, csr?: string) {
  const request = {
    csr: csr ?? createKeyAndCsr(idOf('caller')).csrPem,
    validityDuration: 600,
    metadata: identity === undefined ? {} : { ImpersonatedIdentity: identity },
  }
  return await new Promise<readonly string[]>((resolve, reject) => {
    client.certificates.createCertificate(request, bearer(token), deadline(), (error, answer) =>
      error === null ? resolve(answer.certChain) : reject(error),
    )
  })
}

/** Details that the caller gets; they do not say what was wrong. The log does. */
const NOT_AUTHENTICATED = 'request authenticate failure'
const NOT_GRANTED = 'request impersonation authentication failure'

const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString()

interface Refusal {
  readonly token: () => Promise<string | undefined>
  readonly identity?: string
  readonly details: string
  readonly log: RegExp
}

const own = async (): Promise<string> => await client.token('node-1')

const REFUSALS: Readonly<Record<string, Refusal>> = {
  "another node's identity": {
    token: own,
    identity: idOf('server'),
    details: NOT_GRANTED,
    log: /no running pod of the node has the identity spiffe:\/\/cluster\.local\/ns\/default\/sa\/server/,
  },
  "another node's token": {
    token: async () => await client.token('node-2'),
    details: NOT_GRANTED,
    log: /"node":"node-2".*no running pod of the node has the identity \S+\/sa\/caller/,
  },
  'the token of a node that does not exist': {
    token: async () => await client.token('node-9'),
    details: NOT_GRANTED,
    log: /"node":"node-9".*no running pod of the node/,
  },
  'a foreign trust domain': {
    token: own,
    identity: idOf('caller', 'foreign.example'),
    details: NOT_GRANTED,
    log: /foreign\.example\S* is not of the trust domain cluster\.local/,
  },
  'a pod that has finished': {
    token: own,
    identity: idOf('succeeded'),
    details: NOT_GRANTED,
    log: /no running pod of the node has the identity \S+\/sa\/succeeded/,
  },
  'a pod that has failed': {
    token: own,
    identity: idOf('failed'),
    details: NOT_GRANTED,
    log: /no running pod of the node has the identity \S+\/sa\/failed/,
  },
  'an identity that nobody has': {
    token: own,
    identity: idOf('nobody'),
    details: NOT_GRANTED,
    log: /no running pod of the node has the identity \S+\/sa\/nobody/,
  },
  'something that is no identity': {
    token: own,
    identity: 'caller',
    details: NOT_GRANTED,
    log: /not the SPIFFE id of a workload/,
  },
  'an expired token': {
    token: async () => await client.token('node-1', { expiresInSeconds: -30 }),
    details: NOT_AUTHENTICATED,
    log: /"reason":"expired"/,
  },
  'a token for another audience': {
    token: async () => await client.token('node-1', { audience: 'istio-ca' }),
    details: NOT_AUTHENTICATED,
    log: /"reason":"wrong-audience"/,
  },
  'a token of another key': {
    token: async () => await client.token('node-1', { key: otherKey }),
    details: NOT_AUTHENTICATED,
    log: /"reason":"bad-signature"/,
  },
  'something that is no token': {
    token: async () => await Promise.resolve('a.b.c'),
    details: NOT_AUTHENTICATED,
    log: /"reason":"malformed"/,
  },
  'no token': {
    token: async () => await Promise.resolve(undefined),
    details: NOT_AUTHENTICATED,
    log: /"reason":"no-token"/,
  },
}

describe('E11 the certificate authority', () => {
  test('signs for an identity of the own node', async () => {
    const [leaf = '', ...more] = await ask(await own(), idOf('caller'))
    expect(parseCertificates(leaf, 'leaf')[0]?.uris).toEqual([idOf('caller')])
    expect(more).toHaveLength(1)
  })

  test.each(Object.entries(REFUSALS))('refuses %s', async (_name, refusal) => {
    const { token, identity = idOf('caller'), details, log } = refusal
    const error = await ask(await token(), identity).then(
      () => undefined,
      (thrown: ServiceError) => thrown,
    )
    expect(error).toMatchObject({ code: status.UNAUTHENTICATED, details })
    await scene.mesh.controlPlane.waitForLine(log)
  })

  test('refuses a request that names no identity, or has no key of its own', async () => {
    await expect(ask(await own(), undefined)).rejects.toMatchObject({ details: NOT_GRANTED })
    await expect(ask(await own(), idOf('caller'), 'no CSR')).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    })
  })

  test('refuses the identity of a pod that is gone, and of one that has moved to another node', async () => {
    const { mesh } = scene
    const pod = (node: string): object =>
      podObject({
        name: 'guest',
        namespace: 'default',
        node,
        serviceAccount: 'guest',
        addresses: ['10.244.1.201'],
      })
    const granted = async (): Promise<boolean> =>
      await ask(await own(), idOf('guest')).then(
        () => true,
        () => false,
      )
    await mesh.apply('guest', [pod('node-1')])
    await mesh.eventually('granted', granted)
    await mesh.apply('guest', [pod('node-2')])
    await mesh.eventually('refused after the move', async () => !(await granted()))
    await mesh.apply('guest', [pod('node-1')])
    await mesh.eventually('granted again', granted)
    await mesh.remove('guest')
    await mesh.eventually('refused after the removal', async () => !(await granted()))
  })

  test('nothing that was refused was signed', () => {
    const signed = scene.mesh.controlPlane.output
      .split('\n')
      .filter((line) => line.includes('"certificate signed"'))
      .map((line) => /"identity":"([^"]+)"/.exec(line)?.[1])
    const expected = ['caller', 'server', 'guest'].map((name) => idOf(name))
    expect(new Set(signed)).toEqual(new Set(expected))
  })
})
