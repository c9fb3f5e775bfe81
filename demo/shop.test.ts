import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { CALLS, NODES, nodeOf } from './placement.ts'
import { readWantedPods, shopDirectory } from './shop.ts'
import { thingsToTry } from './things-to-try.ts'

function copyOfShop(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ambit-shop-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  cpSync(shopDirectory(), folder, { recursive: true })
  return folder
}

test('the sample asks for the pods of the shop, one of them outside the mesh', async () => {
  const pods = await readWantedPods(shopDirectory())
  expect(pods.map(({ name }) => name)).toEqual([
    'analytics',
    'frontend',
    'inventory',
    'legacy',
    'orders',
    'payments-v1',
    'payments-v2',
    'redis',
  ])
  expect(pods.filter((pod) => !pod.inMesh).map(({ name }) => name)).toEqual(['legacy'])
  expect(pods.find(({ name }) => name === 'payments-v2')).toEqual({
    name: 'payments-v2',
    namespace: 'shop',
    serviceAccount: 'payments',
    labels: { app: 'payments', version: 'v2' },
    program: 'http',
    port: 8080,
    inMesh: true,
  })
  expect(pods.find(({ name }) => name === 'redis')).toMatchObject({ program: 'redis', port: 6379 })
})

test('every caller is a pod, and both nodes have some', async () => {
  const names = (await readWantedPods(shopDirectory())).map(({ name }) => name)
  expect(names).toEqual(expect.arrayContaining(Object.keys(CALLS)))
  expect(new Set(names.map(nodeOf))).toEqual(new Set(NODES))
  expect(nodeOf('payments-v1')).not.toBe(nodeOf('payments-v2'))
})

test('a Deployment that cannot be read is named with its place', async () => {
  const folder = copyOfShop()
  const file = join(folder, 'orders.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace('containerPort: 8080', 'containerPort: x'))
  await expect(readWantedPods(folder)).rejects.toThrow(`${file}, document 3`)
})

test('the printed edits do and undo what they say, in the sample as it is', () => {
  const folder = copyOfShop()
  const things = thingsToTry('ambit-demo-', folder)
  const run = (command: string): void => expect(spawnSync('sh', ['-c', command]).status).toBe(0)
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8')
  const before = [text('payments-policy.yaml'), text('peer-authentication.yaml')]

  run(things.everyoneAgain)
  run(things.onlyOrders)
  run(things.onlyOrders)
  expect(parse(text('payments-policy.yaml')).spec.rules).toEqual([
    { from: [{ source: { principals: ['cluster.local/ns/shop/sa/orders'] } }] },
  ])
  run(things.strict)
  expect(parse(text('peer-authentication.yaml')).spec.mtls.mode).toBe('STRICT')

  run(things.everyoneAgain)
  run(things.permissive)
  expect([text('payments-policy.yaml'), text('peer-authentication.yaml')]).toEqual(before)
})
