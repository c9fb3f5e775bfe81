import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Address, TunnelProtocol } from '../shared/proto/generated/workload.ts'
import { FakeClock } from '../shared/runtime/clock.ts'
import { silentLog } from '../shared/runtime/log.ts'
import { Compiler } from './compile/compiler.ts'
import { DEFAULT_MESH_OPTIONS } from './compile/mesh-options.ts'
import { ADDRESS_TYPE } from './compile/resource.ts'
import { ReportStore } from './enroll/report-store.ts'
import { VipFile } from './enroll/vip-file.ts'
import { Publisher } from './publisher.ts'
import { parseObjectFile } from './source/object-file.ts'
import { ObjectSet } from './source/object-set.ts'
import { podUid, podYaml } from './testing-control-plane.ts'
import { ResourceStore } from './xds/resource-store.ts'

describe('the publisher', () => {
  let directory: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambit-publisher-'))
  })

  afterEach(async () => {
    await rm(directory, { recursive: true, force: true })
  })

  const publisherIn = (state: string) => {
    const clock = new FakeClock()
    const store = new ResourceStore()
    const compiler = new Compiler(DEFAULT_MESH_OPTIONS)
    const publisher = new Publisher({
      mesh: DEFAULT_MESH_OPTIONS,
      compiler,
      store,
      reports: new ReportStore(state),
      vips: new VipFile(state),
      clock,
      log: silentLog,
      nodesChanged: () => undefined,
    })
    const protocol = (name: string): TunnelProtocol | undefined => {
      const found = store.view(ADDRESS_TYPE).find(podUid(name))
      if (found === undefined) return undefined
      const { type } = Address.decode(found.body)
      return type?.$case === 'workload' ? type.value.tunnelProtocol : undefined
    }
    return { publisher, clock, protocol }
  }

  const objects = new ObjectSet()
  objects.put('a.yaml', parseObjectFile('a.yaml', podYaml('a', 'n1', '10.0.0.1')))
  const pod = objects.takeEvents()
  objects.delete('a.yaml')
  const noPod = objects.takeEvents()

  test('a report is on disk before it is announced', async () => {
    const { publisher, protocol } = publisherIn(directory)
    publisher.objects(pod)
    publisher.report(podUid('a'), true)
    expect(protocol('a')).toBe(TunnelProtocol.NONE)
    await publisher.idle()
    expect(protocol('a')).toBe(TunnelProtocol.HBONE)
    expect([...(await new ReportStore(directory).load())]).toEqual([podUid('a')])
  })

  test('while the disk fails reports wait, and objects do not', async () => {
    const state = join(directory, 'not-there-yet')
    const { publisher, clock, protocol } = publisherIn(state)
    publisher.objects(pod)
    expect(protocol('a')).toBe(TunnelProtocol.NONE)
    publisher.report(podUid('a'), true)
    await publisher.idle()
    expect(protocol('a')).toBe(TunnelProtocol.NONE)
    await mkdir(state)
    clock.advance(1_000)
    await publisher.idle()
    expect(protocol('a')).toBe(TunnelProtocol.HBONE)
  })

  test('a report about a pod that goes meanwhile is dropped', async () => {
    const { publisher, protocol } = publisherIn(directory)
    publisher.objects(pod)
    publisher.report(podUid('a'), true)
    publisher.objects(noPod)
    publisher.objects(pod)
    await publisher.idle()
    expect(protocol('a')).toBe(TunnelProtocol.NONE)
    expect([...(await new ReportStore(directory).load())]).toEqual([])
  })

  test('a deleted pod is forgotten on disk', async () => {
    const { publisher } = publisherIn(directory)
    publisher.objects(pod)
    publisher.report(podUid('a'), true)
    await publisher.idle()
    publisher.objects(noPod)
    await publisher.idle()
    expect([...(await new ReportStore(directory).load())]).toEqual([])
  })
})
