import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { packageRoot } from '../../shared/runtime/package-root.ts'
import { renderTemplate, VARIANTS } from './peer-template.ts'

describe('renderTemplate', () => {
  const template = '# for people\nall @NAME@\n  [tuned] big\n  [stock] log\n  [fresh] none\n'

  test('keeps the lines of a variant and fills in names', () => {
    const values = { NAME: 'x' }
    expect(renderTemplate(template, { tuning: 'tuned', sessions: 'reuse' }, values)).toBe(
      'all x\nbig\n',
    )
    expect(renderTemplate(template, { tuning: 'stock', sessions: 'fresh' }, values)).toBe(
      'all x\nlog\nnone\n',
    )
  })

  test('refuses a name without a value', () => {
    expect(() => renderTemplate(template, { tuning: 'tuned', sessions: 'reuse' }, {})).toThrow(
      '@NAME@',
    )
  })
})

describe('the templates', () => {
  const folder = join(packageRoot(), 'bench', 'peers')
  const files = readdirSync(folder)
  const values = Object.fromEntries(
    'DIRECTORY PEER CA CLIENT_CERTIFICATE CLIENT_KEY CLIENT_BUNDLE SERVER_CERTIFICATE SERVER_KEY SERVER_BUNDLE SERVER_NAME MAX_DESCRIPTORS MAX_CONNECTIONS'
      .split(' ')
      .map((name) => [name, name.toLowerCase()]),
  )

  test.for(files)('%s differs by variant, and nothing of the template is left', (file) => {
    const template = readFileSync(join(folder, file), 'utf8')
    const made = VARIANTS.map((variant) => renderTemplate(template, variant, values))
    expect(new Set(made).size).toBe(VARIANTS.length)
    for (const text of made) expect(text).not.toMatch(/@|^\s*\[/m)
  })

  test('both sides demand TLS 1.3 and a certificate of the other', () => {
    const read = (file: string): string => readFileSync(join(folder, file), 'utf8')
    expect(read('haproxy-client.cfg')).toMatch(/ssl-min-ver TLSv1\.3[^]*verify required/)
    expect(read('haproxy-server.cfg')).toMatch(/ssl-min-ver TLSv1\.3[^]*verify required/)
    expect(read('nginx-client.conf')).toMatch(
      /proxy_ssl_protocols TLSv1\.3;[^]*proxy_ssl_verify on;/,
    )
    expect(read('nginx-server.conf')).toMatch(/ssl_protocols TLSv1\.3;[^]*ssl_verify_client on;/)
  })
})
