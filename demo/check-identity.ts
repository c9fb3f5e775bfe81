import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { connect } from 'node:tls'
import type { Place } from '../shared/lab/place.ts'
import { tcpSocket } from '../shared/linux/sockets.ts'
import { describeError } from '../shared/runtime/errors.ts'
import type { RunningShop, ShopPod } from './running-shop.ts'
import { failed, passed, type Verdict } from './verdict.ts'

const TIMEOUT_MS = 5_000

/**
 * An ordinary TLS client, from outside and without a certificate, at the HBONE port of each mesh pod: it must see a
 * certificate of the mesh's root with exactly the pod's identity, by TLS 1.3, and get nothing more.
 */
export async function checkCertificates(shop: RunningShop): Promise<Verdict> {
  const root = await readFile(shop.mesh.rootFile, 'utf8')
  const seen = await Promise.all(
    shop.meshPods.map(async (pod) => {
      const problem = await problemOf(pod, shop.mesh.control, root).catch(describeError)
      return problem === undefined ? [] : [`${pod.wanted.name}: ${problem}`]
    }),
  )
  const problems = seen.flat()
  if (problems.length > 0) return failed(problems.join('; '))
  const one = shop.meshPods.find(({ wanted }) => wanted.name === 'payments-v1')
  const example = one === undefined ? '' : `, payments-v1 is ${identityOf(one)}`
  return passed(`${shop.meshPods.length} pods, one SPIFFE identity each${example}`)
}

async function problemOf(pod: ShopPod, from: Place, root: string): Promise<string | undefined> {
  const { certificate, protocol, isTrusted, answered } = await look(pod.place.address4, from, root)
  const wanted = `URI:${identityOf(pod)}`
  if (protocol !== 'TLSv1.3') return `speaks ${protocol}`
  if (!isTrusted) return 'its certificate is not of the root of the mesh'
  const names = certificate.subjectAltName ?? 'no name'
  if (names !== wanted) return `its certificate says ${names}`
  return answered ? 'answers a client without certificate' : undefined
}

/** Stays until the server hangs up, to see whether it sends anything. */
async function look(address: string, from: Place, root: string) {
  const fd = from.namespace.run(() => tcpSocket({ family: 4 }))
  const tcp = new Socket({ fd }).connect({ host: address, port: 15_008 })
  const tls = connect({
    socket: tcp,
    ca: root,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  })
  for (const socket of [tcp, tls]) socket.on('error', () => undefined)
  // An alert, which is how the server says no, is an error too: the close tells, whatever came before it.
  const closed = new Promise<void>((resolve) => tls.once('close', () => resolve()))
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  signal.addEventListener('abort', () => tls.destroy())
  try {
    await once(tls, 'secureConnect', { signal })
    let answered = false
    tls.on('data', () => (answered = true))
    const seen = {
      certificate: new X509Certificate(tls.getPeerCertificate(true).raw),
      protocol: tls.getProtocol(),
      isTrusted: tls.authorized,
    }
    await closed
    signal.throwIfAborted()
    return { ...seen, answered }
  } finally {
    tls.destroy()
    tcp.destroy()
  }
}

const identityOf = ({ wanted }: ShopPod): string =>
  `spiffe://cluster.local/ns/${wanted.namespace}/sa/${wanted.serviceAccount}`
