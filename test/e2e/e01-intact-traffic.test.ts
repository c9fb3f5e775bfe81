import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byteStream, byteStreamHash } from '../../shared/lab/apps/byte-stream.ts'
import { AmbientMesh, WAYS } from './support/ambient-mesh.ts'
import { sh, startApps, startNginx, startRedis } from './support/programs.ts'

const BYTES = 200_000_000
const COMMANDS = 10_000

let mesh: AmbientMesh
let directory: string
let sha256: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambit-e1-'))
  const root = join(directory, 'www')
  await mkdir(root)
  await pipeline(byteStream(BYTES, 'e1'), createWriteStream(join(root, 'large')))
  await writeFile(join(root, 'page'), 'hello from nginx\n')
  await writeFile(
    join(directory, 'set'),
    redisCommands((key, value) => `SET ${key} ${value}`),
  )
  await writeFile(join(directory, 'get'), `MGET ${KEYS.join(' ')}\n`)
  sha256 = await byteStreamHash(BYTES, 'e1')
  mesh = await AmbientMesh.start()
  for (const pod of [mesh.pod('near'), mesh.pod('far')]) {
    await Promise.all([startApps(pod), startNginx(pod, { directory, root }), startRedis(pod)])
  }
})

afterAll(async () => {
  await mesh?.[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

const KEYS = Array.from({ length: COMMANDS }, (_, index) => `key-${index}`)
const valueOf = (key: string): string => createHash('sha256').update(key).digest('hex')

function redisCommands(command: (key: string, value: string) => string): string {
  return KEYS.map((key) => `${command(key, valueOf(key))}\r\n`).join('')
}

describe.each(WAYS)('E1 from a pod to %s by IPv%i', (target, family) => {
  const url = (port: number, path: string): string =>
    `'http://${mesh.host(target, family)}:${port}${path}'`
  const redis = (): string =>
    `redis-cli -h ${mesh.host(target, family).replace(/[[\]]/g, '')} -p 6379`

  test('curl gets a page from nginx', async () => {
    expect(await sh(mesh.pod('caller'), `curl -sS -g --fail ${url(80, '/page')}`)).toBe(
      'hello from nginx\n',
    )
  })

  test('a download of 200 MB from nginx arrives intact', async () => {
    const script = `curl -sS -g --fail ${url(80, '/large')} | sha256sum`
    expect(await sh(mesh.pod('caller'), script)).toBe(`${sha256}  -\n`)
  })

  test('an upload of 200 MB arrives intact', async () => {
    const script = `curl -sS -g --fail -T ${directory}/www/large ${url(8080, '/hash')}`
    expect(JSON.parse(await sh(mesh.pod('caller'), script))).toEqual({ bytes: BYTES, sha256 })
  })

  test('redis-cli pipelines 10,000 commands, and every value is there', async () => {
    const caller = mesh.pod('caller')
    await sh(caller, `${redis()} FLUSHALL`)
    const summary = await sh(caller, `${redis()} --pipe < ${directory}/set`)
    expect(summary).toContain(`errors: 0, replies: ${COMMANDS}`)
    const values = await sh(caller, `${redis()} < ${directory}/get`)
    expect(values.trimEnd().split('\n')).toEqual(KEYS.map(valueOf))
  })
})

test('E1: all of it went by HBONE', async () => {
  for (const node of ['node-1', 'node-2']) {
    const text = await mesh.mesh.get(mesh.mesh.node(node), 15_020, '/stats/prometheus')
    const opened = text
      .split('\n')
      .filter((line) => line.startsWith('istio_tcp_connections_opened_total{'))
    expect(opened.length).toBeGreaterThan(0)
    for (const line of opened) expect(line).toContain('connection_security_policy="mutual_tls"')
  }
})
