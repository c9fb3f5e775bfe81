import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url))

async function ambit(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('AMBIT_'))
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...Object.fromEntries(inherited), NODE_NAME: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [code] = await once(child, 'close')
  return { code: Number(code), output }
}

describe('the ambit command', () => {
  test.for([
    { args: ['--version'], env: {}, code: 0, says: /^\d+\.\d+\.\d+\n$/ },
    { args: ['--help'], env: {}, code: 0, says: /controlplane[^]*token/ },
    { args: ['ztunnel', '--help'], env: {}, code: 0, says: /--drain <DURATION>[^]*5s/ },
    { args: ['nonsense'], env: {}, code: 2, says: /unknown command/ },
    { args: ['ztunnel', '--nod', 'x'], env: {}, code: 2, says: /unknown option '--nod'/ },
    { args: ['controlplane'], env: {}, code: 2, says: /--config \(AMBIT_CONFIG_DIR\) is missing/ },
    {
      args: ['ztunnel', '--node', 'n', '--netns-scope', 'p-', '--drain', 'soon'],
      env: {},
      code: 2,
      says: /--drain: "soon" is not a duration like 5s or 1m 30s/,
    },
    {
      args: ['ztunnel', '--node', 'n', '--netns-scope', 'p-'],
      env: { AMBIT_ADMIN_PROT: '1', AMBIT_STATS_PORT: 'x' },
      code: 2,
      says: /AMBIT_STATS_PORT: "x" is not a port number[^]*AMBIT_ADMIN_PROT: there is no such/,
    },
    {
      args: ['token', 'create', '--node', 'n', '--state', '/nowhere', '--ttl', '1'],
      env: {},
      code: 2,
      says: /--ttl: "1" is not a duration/,
    },
    {
      args: ['controlplane', '--config', '/nowhere/at-all', '--state', '/dev/null/state'],
      env: {},
      code: 1,
      says: /\/dev\/null\/state/,
    },
  ])('$args ends with $code', async ({ args, env, code, says }) => {
    const result = await ambit(args, env)
    expect(result.output).toMatch(says)
    expect(result.code).toBe(code)
  })
})
