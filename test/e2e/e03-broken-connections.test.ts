import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Place } from '../../shared/lab/place.ts'
import { listenTcp } from '../../shared/linux/sockets.ts'
import { AmbientMesh, WAYS } from './support/ambient-mesh.ts'
import { connectFrom, startApps } from './support/programs.ts'

const OWN_APP_PORT = 9100
const ENDLESS = 100_000_000_000

let mesh: AmbientMesh
const servers: Server[] = []
const arrivals = new Map<Place, (socket: Socket) => void>()

beforeAll(async () => {
  mesh = await AmbientMesh.start()
  for (const pod of [mesh.pod('near'), mesh.pod('far')]) {
    await startApps(pod)
    await listenIn(pod)
  }
})

afterAll(async () => {
  for (const server of servers) server.close()
  await mesh?.[Symbol.asyncDispose]()
})

const opened: Socket[] = []
afterEach(() => {
  for (const socket of opened.splice(0)) socket.destroy()
})

/** An application in this process, so that the test sees how its connections end. */
async function listenIn(pod: Place): Promise<void> {
  const fd = pod.namespace.run(() => listenTcp({ host: '::', port: OWN_APP_PORT }))
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    opened.push(socket)
    socket.on('error', () => undefined)
    arrivals.get(pod)?.(socket)
  })
  servers.push(server)
  server.listen({ fd })
  await once(server, 'listening')
}

/** How a connection ends for whoever reads it: `end`, or the code of its error. */
async function howItEnds(socket: Socket): Promise<string> {
  socket.resume()
  return await new Promise((resolve) => {
    socket.once('end', () => resolve('end'))
    socket.once('error', (error) => resolve('code' in error ? String(error.code) : error.message))
  })
}

async function call(host: string, port: number): Promise<Socket> {
  const socket = await connectFrom(mesh.pod('caller'), host, port)
  opened.push(socket)
  return socket
}

const addressOf = (pod: Place, family: 4 | 6): string =>
  family === 4 ? pod.address4 : pod.address6

/** Both ends of one connection of the caller's pod, a first byte through it. */
async function ends(pod: Place, family: 4 | 6): Promise<{ client: Socket; app: Socket }> {
  const arrived = new Promise<Socket>((resolve) => arrivals.set(pod, resolve))
  const client = await call(addressOf(pod, family), OWN_APP_PORT)
  client.write('x')
  const app = await arrived
  await once(app, 'data')
  return { client, app }
}

/** A download without a length, so that only the end of the connection tells whether it is complete. */
async function startDownload(pod: Place): Promise<Socket> {
  const socket = await call(pod.address4, 9000)
  socket.write(`source ${ENDLESS}\n`)
  await once(socket, 'data')
  return socket
}

interface CurlEnd {
  readonly code: number | null
  readonly stderr: string
}

/** The same with curl, whose end is awaited; `started` settles with the first bytes. */
function curlDownload(pod: Place): { readonly started: Promise<unknown>; ended: Promise<CurlEnd> } {
  const url = `http://${pod.address4}:8080/bytes?n=${ENDLESS}`
  const running = mesh
    .pod('caller')
    .spawn('curl', ['-sS', '--limit-rate', '10M', '-w', 'done', '-v', '-o', '/dev/null', url])
  return {
    started: running.waitForLine(/HTTP\/1.1 200 OK/),
    ended: running.exited.then(({ code }) => ({ code, stderr: running.output })),
  }
}

describe.each(WAYS)('E3 between a pod and %s by IPv%i', (target, family) => {
  test("an application's reset reaches the client as a reset", async () => {
    const { client, app } = await ends(mesh.pod(target), family)
    const ended = howItEnds(client)
    app.resetAndDestroy()
    expect(await ended).toBe('ECONNRESET')
  })

  test("a client's reset reaches the application as a reset", async () => {
    const { client, app } = await ends(mesh.pod(target), family)
    const ended = howItEnds(app)
    client.resetAndDestroy()
    expect(await ended).toBe('ECONNRESET')
  })

  test('a clean end of both sides is no reset', async () => {
    const { client, app } = await ends(mesh.pod(target), family)
    const both = Promise.all([howItEnds(client), howItEnds(app)])
    client.end()
    app.end()
    expect(await both).toEqual(['end', 'end'])
  })
})

describe('E3: a policy that now denies', () => {
  test.each(['near', 'far'] as const)('cuts downloads from %s', async (target) => {
    const pod = mesh.pod(target)
    const curl = curlDownload(pod)
    const [socket] = await Promise.all([startDownload(pod), curl.started])
    const ended = howItEnds(socket)
    await mesh.mesh.apply('deny', denyAll)
    expect(await ended).toBe('ECONNRESET')
    const { code, stderr } = await curl.ended
    expect([18, 56], stderr).toContain(code)
    await mesh.mesh.remove('deny')
    await mesh.mesh.eventually('calls are allowed again', async () => {
      const url = `http://${pod.address4}:8080/`
      return (await mesh.pod('caller').exec('curl', ['-sS', '--fail', url])).code === 0
    })
  })
})

describe('E3: the loss of a tunnel', () => {
  test.each([
    ["the server's", 'node-2'],
    ["the client's", 'node-1'],
  ])('by the death of %s ztunnel fails transfers at both ends', async (_whose, node) => {
    const far = mesh.pod('far')
    const { client, app } = await ends(far, 4)
    const curl = curlDownload(far)
    const [download] = await Promise.all([startDownload(far), curl.started])
    const ended = Promise.all([client, app, download].map(howItEnds))
    const ztunnel = mesh.mesh.ztunnel(node)
    ztunnel.kill('SIGKILL')
    await ztunnel.exited
    await mesh.mesh.startZtunnel(node)
    expect(await ended).toEqual(['ECONNRESET', 'ECONNRESET', 'ECONNRESET'])
    const { code, stderr } = await curl.ended
    expect([18, 56], stderr).toContain(code)
    const again = await ends(far, 4)
    expect(again.client.remoteAddress).toBe(far.address4)
  })
})

const denyAll = [
  {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'deny-all', namespace: 'default' },
    spec: { action: 'DENY', rules: [{}] },
  },
]
