import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { request } from '../../shared/lab/request.ts'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { AmbientMesh } from './support/ambient-mesh.ts'
import { sh, startApps } from './support/programs.ts'

const MAIN = join(packageRoot(), 'cli/main.ts')

let mesh: AmbientMesh

beforeAll(async () => {
  mesh = await AmbientMesh.start()
  await startApps(mesh.pod('far'))
})

afterAll(async () => await mesh?.[Symbol.asyncDispose]())

/** Whatever was written: everything lives, and what was in force stays so. */
afterEach(async () => {
  const { controlPlane } = mesh.mesh
  expect(controlPlane.exit, controlPlane.output.slice(-2_000)).toBeUndefined()
  const url = `http://${mesh.host('far', 4)}:8080/`
  expect(await sh(mesh.pod('caller'), `curl -sS --fail --max-time 5 ${url}`)).toContain(
    '"app":"far"',
  )
})

const policy = (name: string, spec: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: default }
spec: ${spec}
`

const service = (name: string): string => `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: default }
spec: { ports: [{ port: 80 }] }
`

interface Problem {
  readonly file: string
  readonly document?: number
  readonly path?: string
}

async function problems(): Promise<readonly Problem[]> {
  const page = await mesh.mesh.get(mesh.mesh.control, 15_014, '/debug/sources')
  return (JSON.parse(page) as { readonly problems: readonly Problem[] }).problems
}

/** Waits until the control plane blames the file for exactly this, in its log and on its page. */
async function blamed(file: string, where: object, reason: RegExp): Promise<void> {
  const line = await mesh.mesh.controlPlane.waitForLine(
    new RegExp(`"file":"${file.replaceAll('.', String.raw`\.`)}".*"message":"object ignored"`),
  )
  expect(JSON.parse(line)).toMatchObject({
    level: 'warn',
    file,
    ...where,
    reason: expect.stringMatching(reason),
  })
  expect(await problems()).toContainEqual(expect.objectContaining({ file, ...where }))
}

describe('E10 files of objects', () => {
  test.each<[string, string, object, RegExp]>([
    ['bad YAML', 'kind: [Policy', { document: 1 }, /./],
    ['a tab for indentation', 'metadata:\n\tname: x\n', { document: 1 }, /tab/i],
    ['a text', 'just some words', { document: 1 }, /expected object/],
    ['binary', '\u0000\u0001\u0002\ufffd', { document: 1 }, /./],
    ['no kind', 'apiVersion: v1\n', { document: 1, path: 'kind' }, /expected string/],
    [
      'no name',
      'apiVersion: v1\nkind: Pod\nmetadata: {}\n',
      { document: 1, path: 'metadata.name' },
      /./,
    ],
    [
      'a wrong action',
      policy('wrong', '{ action: MAYBE }'),
      { document: 1, path: 'spec.action' },
      /./,
    ],
    [
      'a number for a list',
      policy('wrong', '{ rules: 7 }'),
      { document: 1, path: 'spec.rules' },
      /expected array/,
    ],
    ['an unknown field', policy('wrong', '{ ruless: [] }'), { document: 1 }, /ruless/],
    [
      'a bad IP block',
      policy('wrong', '{ rules: [{ from: [{ source: { ipBlocks: [10.0.0.300] } }] }] }'),
      { document: 1, path: 'spec.rules[0].from[0].source.ipBlocks[0]' },
      /./,
    ],
    [
      'an unserved version',
      policy('wrong', '{}').replace('/v1', '/v9'),
      { document: 1, path: 'apiVersion' },
      /use security\.istio\.io\/v1/,
    ],
    [
      'a text for a port',
      service('wrong').replace('80', 'many'),
      { document: 1, path: 'spec.ports[0].port' },
      /expected number/,
    ],
    [
      'a bad second document',
      `${service('right')}---\n${service('wrong').replace('80', '99999')}`,
      { document: 2, path: 'spec.ports[0].port' },
      /./,
    ],
    ['a bomb of aliases', bomb(), { document: 1 }, /alias/i],
  ])(
    '%s is blamed with its place, and gone when the file is',
    async (name, text, where, reason) => {
      const file = `bad-${name.replaceAll(' ', '-').toLowerCase()}`
      await mesh.mesh.apply(file, text)
      await blamed(`${file}.yaml`, where, reason)
      await mesh.mesh.remove(file)
      await mesh.mesh.eventually('no problem is left', async () => (await problems()).length === 0)
    },
  )

  test('half a JSON file is blamed', async () => {
    await writeFile(join(mesh.mesh.configDirectory, 'half.json'), '{"kind": "Service", ')
    await blamed('half.json', { document: 1 }, /not JSON/)
    await writeFile(join(mesh.mesh.configDirectory, 'half.json'), '{"kind": "List", "items": []}')
    await mesh.mesh.eventually('no problem is left', async () => (await problems()).length === 0)
  })

  test('a policy that becomes unreadable stays in force until it is good again or gone', async () => {
    const url = `http://${mesh.host('far', 4)}:8080/`
    const allowed = async (): Promise<boolean> =>
      (await mesh.pod('caller').exec('curl', ['-sS', '--max-time', '5', url])).code === 0
    await mesh.mesh.apply('guard', policy('guard', '{ action: DENY, rules: [{}] }'))
    await mesh.mesh.eventually('it denies', async () => !(await allowed()))
    await mesh.mesh.apply('guard', policy('guard', '{ action: DENY, rules: [{}'))
    await blamed('guard.yaml', { document: 1 }, /./)
    expect(await allowed()).toBe(false)
    await mesh.mesh.remove('guard')
    await mesh.mesh.eventually('it is gone', allowed)
  })
})

/** Nine levels of ten references each. */
function bomb(): string {
  const levels = Array.from({ length: 9 }, (_, level) => {
    const item = level === 0 ? 'x' : `*a${level - 1}`
    return `a${level}: &a${level} [${Array.from({ length: 10 }, () => item).join(', ')}]`
  })
  return `${levels.join('\n')}\n`
}

describe('E10 files of a ztunnel', () => {
  test.each([
    ['a token that is none', 'token', /token|Unauthenticated|16/i],
    ['roots that are none', 'root', /root/i],
    ['a token file that is not there', 'no token', /token|ENOENT/i],
  ])('with %s it says so, waits, and is not ready', async (_name, which, words) => {
    const directory = join(mesh.mesh.directory, `bad-${which.replace(' ', '-')}`)
    await mkdir(directory)
    const bad = join(directory, 'bad')
    if (which !== 'no token') await writeFile(bad, 'no such thing\n')
    const place = mesh.mesh.control
    const running = place.spawn(process.execPath, [
      MAIN,
      'ztunnel',
      '--node',
      'node-3',
      '--xds-address',
      mesh.mesh.controlPlaneUrl,
      '--ca-root',
      which === 'root' ? bad : mesh.mesh.rootFile,
      '--token',
      which === 'root' ? mesh.mesh.tokenFile('node-1') : bad,
      '--netns-scope',
      `${mesh.lab.prefix}none-`,
      '--log-format',
      'json',
    ])
    try {
      const line = await running.waitForLine(
        new RegExp(`"level":"(warn|error)".*(${words.source})`, 'i'),
        10_000,
      )
      expect(line).not.toContain('no such thing')
      expect((await request(place, { port: 15_021, path: '/healthz/ready' })).status).toBe(500)
      expect(running.exit).toBeUndefined()
    } finally {
      await running.stop()
    }
  })
})

describe('E10 what a program is started with', () => {
  const ambit = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    await mesh.mesh.control.exec(process.execPath, [MAIN, ...args], { env })

  test.each<[string, readonly string[], Record<string, string>, RegExp]>([
    [
      'an address that is none',
      ['ztunnel', '--node', 'n', '--netns-scope', 'x', '--xds-address', 'ftp://x'],
      {},
      /--xds-address.*https/,
    ],
    [
      'a bad duration',
      ['ztunnel', '--node', 'n', '--netns-scope', 'x', '--drain', 'soon'],
      {},
      /--drain.*duration/,
    ],
    ['a missing setting', ['ztunnel', '--netns-scope', 'x'], {}, /--node .*missing/],
    [
      'a mistyped variable',
      ['ztunnel', '--node', 'n', '--netns-scope', 'x'],
      { AMBIT_NETNS_SCOP: 'x' },
      /AMBIT_NETNS_SCOP/,
    ],
    ['an unknown flag', ['controlplane', '--confg', 'x'], {}, /unknown option/],
    [
      'a bad range',
      ['controlplane', '--config', 'c', '--state', 's', '--vip-range-v4', '10.0.0.0/99'],
      {},
      /--vip-range-v4.*CIDR/,
    ],
  ])('%s is named, with exit code 2', async (_name, args, env, words) => {
    const { code, stderr } = await ambit(args, env)
    expect(stderr).toMatch(words)
    expect(code).toBe(2)
  })

  test('a state directory with a CA that is none is named, with exit code 1', async () => {
    const state = join(mesh.mesh.directory, 'bad-state')
    await mkdir(state, { mode: 0o700 })
    for (const name of ['ca-key.pem', 'root-cert.pem', 'ca-cert.pem', 'cert-chain.pem']) {
      await writeFile(join(state, name), 'no such thing\n', { mode: 0o600 })
    }
    const { code, stderr } = await ambit([
      'controlplane',
      '--config',
      mesh.mesh.configDirectory,
      '--state',
      state,
    ])
    expect(stderr).toContain('bad-state')
    expect(stderr).not.toContain('no such thing')
    expect(code).toBe(1)
  })
})
