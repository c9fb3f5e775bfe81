import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const script = fileURLToPath(new URL('./system-tools.sh', import.meta.url))
const DEMO = { nftables: 'nft', iproute2: 'ip', curl: 'curl', 'redis-server': 'redis-server' }

/** A machine of its own: PATH has only what a test puts there, and ROOT is a temporary folder. */
class Machine {
  readonly root = mkdtempSync(join(tmpdir(), 'ambit-tools-'))
  readonly #bin = join(this.root, 'bin')

  constructor(options: { uid: number; without?: readonly string[] }) {
    for (const folder of ['bin', 'run', 'usr/sbin', 'lib/systemd/system', 'records']) {
      mkdirSync(join(this.root, folder), { recursive: true })
    }
    for (const name of ['sh', 'mktemp', 'rm', 'mv', 'grep', 'chmod', 'cat', 'tr', 'touch', 'env']) {
      const path = ['/usr/bin', '/bin'].map((it) => join(it, name)).find((it) => existsSync(it))
      if (path !== undefined) symlinkSync(path, join(this.#bin, name))
    }
    this.tool('id', `echo ${options.uid}`)
    for (const [name, command] of Object.entries(DEMO)) {
      if (!options.without?.includes(name)) this.tool(command, 'exit 0')
    }
  }

  tool(name: string, body: string): void {
    this.file(`bin/${name}`, body)
  }

  file(path: string, body: string): void {
    writeFileSync(join(this.root, path), `#!/bin/sh\n${body}\n`)
    chmodSync(join(this.root, path), 0o755)
  }

  /** A package manager whose packages are the missing tools; it notes what it is told, and what the policy says. */
  debian(install = true): void {
    const { root } = this
    this.tool('dpkg-query', `[ -e "${root}/records/installed" ] && printf installed`)
    this.tool(
      'apt-get',
      `echo "$* $DEBIAN_FRONTEND $NEEDRESTART_SUSPEND" >>${root}/records/apt
       [ "$1" = install ] || exit 0
       ${root}/usr/sbin/policy-rc.d nginx start; echo $? >>${root}/records/policy
       ${install ? `touch ${root}/records/installed ${root}/lib/systemd/system/new.service` : 'exit 100'}`,
    )
    this.tool('systemctl', `echo "$*" >>${root}/records/systemctl`)
  }

  run(list: string) {
    const run = spawnSync('/bin/sh', [script, list, this.root], {
      encoding: 'utf8',
      env: { PATH: this.#bin, TMPDIR: join(this.root, 'run') },
      timeout: 8_000,
    })
    return { code: run.status, out: run.stdout, err: run.stderr }
  }

  recorded(name: string): string[] {
    const path = join(this.root, 'records', name)
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
  }
}

function machine(options: { uid: number; without?: readonly string[] }): Machine {
  const made = new Machine(options)
  onTestFinished(() => rmSync(made.root, { recursive: true, force: true }))
  return made
}

test('says nothing when nothing is missing', () => {
  const host = machine({ uid: 0 })
  expect(host.run('demo')).toEqual({ code: 0, out: '', err: '' })
})

test('says in one line why the demo needs root, and what to run', () => {
  const host = machine({ uid: 1000 })
  expect(host.run('demo')).toEqual({
    code: 1,
    out: '',
    err: 'The demo makes network namespaces, which only root may do: run "sudo npm start".\n',
  })
})

test('without root it names exactly what is missing and the one command to get it', () => {
  const host = machine({ uid: 1000 })
  host.debian()
  host.tool('dpkg-query', 'case "$*" in *wrk*|*libnginx*) ;; *) printf installed ;; esac')
  expect(host.run('test')).toEqual({
    code: 1,
    out: '',
    err:
      'missing system tools: wrk libnginx-mod-stream\n' +
      'install them with: sudo apt-get install --no-install-recommends wrk libnginx-mod-stream\n',
  })
  expect(host.recorded('apt')).toEqual([])
})

test('an installed package counts when its command is outside of PATH', () => {
  const host = machine({ uid: 0, without: ['nftables'] })
  host.tool('dpkg-query', 'printf installed')
  expect(host.run('demo')).toEqual({ code: 0, out: '', err: '' })
})

test('on another distribution it names the packages', () => {
  const { code, err } = machine({ uid: 0, without: ['curl'] }).run('demo')
  expect(code).toBe(1)
  expect(err).toMatch(/^missing system tools: curl\n/)
  expect(err).not.toContain('apt-get')
})

test('as root on Debian it installs, with starts forbidden, and disables the new units', () => {
  const host = machine({ uid: 0, without: ['redis-server'] })
  host.debian()
  host.file('lib/systemd/system/old.service', '')
  expect(host.run('demo')).toEqual({
    code: 0,
    out: '',
    err: 'installing with apt-get: redis-server\n',
  })
  const [apt = '', ...more] = host.recorded('apt')
  expect(more).toEqual([])
  expect(apt).toMatch(/^install -y -q --no-install-recommends .* redis-server noninteractive 1$/)
  expect(host.recorded('policy')).toEqual(['101'])
  expect(host.recorded('systemctl')).toEqual(['disable new.service'])
  expect(readdirSync(join(host.root, 'usr/sbin'))).toEqual([])
  expect(readdirSync(join(host.root, 'run')).filter((it) => it.startsWith('tmp'))).toEqual([])
})

test.for([
  ['forbids', 'exit 101'],
  ['allows', 'exit 0'],
])('a policy of the host that %s starts is in place again afterwards', ([, body = '']) => {
  const host = machine({ uid: 0, without: ['curl'] })
  host.debian()
  host.file('usr/sbin/policy-rc.d', body)
  expect(host.run('demo').code).toBe(0)
  expect(host.recorded('policy')).toEqual(['101'])
  expect(readdirSync(join(host.root, 'usr/sbin'))).toEqual(['policy-rc.d'])
  expect(readFileSync(join(host.root, 'usr/sbin/policy-rc.d'), 'utf8')).toBe(`#!/bin/sh\n${body}\n`)
})

test('mends what a killed run left behind', () => {
  const host = machine({ uid: 0, without: ['curl'] })
  host.debian()
  host.file(
    'usr/sbin/policy-rc.d',
    '# Placed by ambit scripts/system-tools.sh while it installs packages.\nexit 101',
  )
  host.file('usr/sbin/policy-rc.d.ambit-saved', 'exit 0')
  expect(host.run('demo').code).toBe(0)
  expect(host.recorded('policy')).toEqual(['101'])
  expect(readdirSync(join(host.root, 'usr/sbin'))).toEqual(['policy-rc.d'])
  expect(readFileSync(join(host.root, 'usr/sbin/policy-rc.d'), 'utf8')).toContain('exit 0')
})

test('a failing installation updates the lists, tries once more and then says what to do', () => {
  const host = machine({ uid: 0, without: ['curl'] })
  host.debian(false)
  const { code, err } = host.run('demo')
  expect(code).toBe(1)
  expect(host.recorded('apt').map((line) => line.split(' ')[0])).toEqual([
    'install',
    'update',
    'install',
  ])
  expect(err).toMatch(
    /missing system tools: curl\ninstall them with: sudo apt-get install .*curl\n$/,
  )
  expect(readdirSync(join(host.root, 'usr/sbin'))).toEqual([])
})

test('an unknown list is refused', () => {
  expect(machine({ uid: 0 }).run('other')).toMatchObject({ code: 2 })
})
