import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { AmbitError } from './errors.ts'
import {
  duration,
  hostPort,
  port,
  readSettings,
  type Settings,
  secureUrl,
  toggle,
} from './settings.ts'

const DEFINITIONS = {
  node: {
    flag: 'node',
    env: 'NODE_NAME',
    help: '',
    form: 'the name of a node',
    schema: z.string().min(1),
  },
  drainMs: {
    flag: 'drain',
    env: 'AMBIT_DRAIN',
    help: '',
    form: 'a duration like 5s',
    schema: duration,
    fallback: '5s',
  },
  network: {
    flag: 'network',
    env: 'NETWORK',
    help: '',
    form: 'a network',
    schema: z.string(),
    fallback: 'one',
  },
} as const satisfies Settings

function problemsOf(input: Parameters<typeof readSettings>[1]): string[] {
  try {
    readSettings(DEFINITIONS, input)
    return []
  } catch (error) {
    expect(error).toBeInstanceOf(AmbitError)
    return error instanceof AmbitError ? error.message.split('\n') : []
  }
}

describe('readSettings', () => {
  test('a flag wins over the environment, which wins over the default', () => {
    const env = { NODE_NAME: 'n1', AMBIT_DRAIN: '1m 30s' }
    expect(readSettings(DEFINITIONS, { flags: { node: 'n2' }, env })).toEqual({
      node: 'n2',
      drainMs: 90_000,
      network: 'one',
    })
  })

  test('an empty variable counts as not set', () => {
    const env = { AMBIT_DRAIN: '' }
    expect(readSettings(DEFINITIONS, { flags: { node: 'n' }, env }).drainMs).toBe(5_000)
  })

  test('every problem is named with its place and the accepted form', () => {
    expect(problemsOf({ flags: { drain: '5x' }, env: { AMBIT_DRAYN: '1s', OTHER: 'x' } })).toEqual([
      '--node (NODE_NAME) is missing: the name of a node',
      '--drain: "5x" is not a duration like 5s',
      'AMBIT_DRAYN: there is no such environment variable for this command',
    ])
    expect(problemsOf({ flags: { node: 'n' }, env: { AMBIT_DRAIN: 'soon' } })).toEqual([
      'AMBIT_DRAIN: "soon" is not a duration like 5s',
    ])
  })
})

describe('forms', () => {
  test.for([
    ['[::]:15012', { host: '::', port: 15_012 }],
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
    ['localhost:80', { host: 'localhost', port: 80 }],
  ] as const)('host and port %s', ([text, value]) => {
    expect(hostPort.parse(text)).toEqual(value)
  })

  test.for(['', '15012', ':15012', '::1:15012', 'host:', 'host:65536', 'host:1x'])(
    'no host and port: %j',
    (text) => {
      expect(hostPort.safeParse(text).success).toBe(false)
    },
  )

  test.for(['', ' 1', '1e3', '-1', '65536', '0x10'])('no port: %j', (text) => {
    expect(port.safeParse(text).success).toBe(false)
  })

  test('URLs have to be https, with a port and without a path', () => {
    expect(secureUrl.safeParse('https://[fd00::1]:15012').success).toBe(true)
    for (const text of ['http://h:1', 'h:1', 'https://h', 'https://h:1/path', '']) {
      expect(secureUrl.safeParse(text).success, text).toBe(false)
    }
  })

  test('switches are true or false', () => {
    expect(toggle.parse('true')).toBe(true)
    expect(toggle.parse('false')).toBe(false)
    expect(toggle.safeParse('yes').success).toBe(false)
  })
})
