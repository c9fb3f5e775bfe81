import { expect, onTestFinished, test } from 'vitest'
import { HttpEndpoint } from '../runtime/http-endpoint.ts'
import { silentLog } from '../runtime/log.ts'
import { createCaptureMetrics } from './capture-metrics.ts'
import { Metrics } from './metrics.ts'
import { declareProcessMetrics } from './process-metrics.ts'
import { createXdsMetrics } from './xds-metrics.ts'

test('the text is OpenMetrics and leaves out families without a sample', async () => {
  const metrics = new Metrics()
  metrics.counter({ name: 'ambit_never_total', help: 'Never counted', labels: ['why'] })
  metrics.counter({ name: 'ambit_seen_total', help: 'Counted', labels: ['why'] }).inc({ why: 'a' })
  metrics.histogram({ name: 'ambit_silent_seconds', help: 'Unused', labels: ['x'], buckets: [1] })
  expect(await metrics.exposition()).toBe(
    [
      '# HELP ambit_seen Counted',
      '# TYPE ambit_seen counter',
      'ambit_seen_total{why="a"} 1',
      '# EOF',
      '',
    ].join('\n'),
  )
})

test('the last family may be the empty one', async () => {
  const metrics = new Metrics()
  metrics.gauge({ name: 'ambit_level', help: 'A level', labels: ['x'] })
  expect(await metrics.exposition()).toBe('# EOF\n')
})

test('label values are escaped', async () => {
  const metrics = new Metrics()
  metrics
    .counter({ name: 'ambit_odd_total', help: 'Odd', labels: ['value'] })
    .inc({ value: 'a"b\\c\nd' })
  expect(await metrics.exposition()).toContain('ambit_odd_total{value="a\\"b\\\\c\\nd"} 1')
})

test('a name is declared once, and a counter says that it is one', () => {
  const metrics = new Metrics()
  metrics.gauge({ name: 'ambit_one', help: 'One' })
  expect(() => metrics.gauge({ name: 'ambit_one', help: 'One' })).toThrow(/declared twice/)
  expect(() => metrics.counter({ name: 'ambit_two', help: 'Two' })).toThrow(/end in _total/)
})

test('the parts of a node agent expose the families of Istio', async () => {
  const metrics = new Metrics()
  declareProcessMetrics(metrics, { component: 'ztunnel', version: '0.1.0' })
  const xds = createXdsMetrics(metrics)
  xds.terminated('Reconnect')
  xds.message('type.googleapis.com/istio.workload.Address', 120)
  const capture = createCaptureMetrics(metrics)
  capture.active(3)
  capture.pending(1)
  capture.started()
  capture.paused()
  const text = await metrics.exposition()
  for (const line of [
    '# TYPE istio_build gauge',
    'istio_build{component="ztunnel",tag="0.1.0"} 1',
    'istio_xds_connection_terminations_total{reason="Reconnect"} 1',
    '# TYPE istio_xds_message counter',
    'istio_xds_message_total{url="type.googleapis.com/istio.workload.Address"} 1',
    'istio_xds_message_bytes_total{url="type.googleapis.com/istio.workload.Address"} 120',
    'workload_manager_active_proxy_count 3',
    'workload_manager_pending_proxy_count 1',
    'workload_manager_proxies_started_total 1',
    'workload_manager_proxies_stopped_total 0',
    'ambit_accept_pauses_total 1',
  ]) {
    expect(text.split('\n')).toContain(line)
  }
  expect(text).toMatch(/^process_open_fds [1-9]\d*$/m)
  expect(text).toMatch(/^process_max_fds [1-9]\d*$/m)
})

test('everything that is not a promise is marked unstable', async () => {
  const metrics = new Metrics()
  declareProcessMetrics(metrics, { component: 'ztunnel', version: '' })
  createCaptureMetrics(metrics)
  const stable = /^# HELP (istio_build|process_\w+) /
  const helps = (await metrics.exposition()).split('\n').filter((line) => line.startsWith('# HELP'))
  expect(helps.length).toBeGreaterThan(3)
  for (const help of helps) if (!stable.test(help)) expect(help).toMatch(/\(unstable\)$/)
})

test('the endpoint answers scrapers on both paths with the type they ask for', async () => {
  const metrics = new Metrics()
  const endpoint = new HttpEndpoint({
    name: 'metrics',
    host: '127.0.0.1',
    port: 0,
    routes: metrics.routes(),
    log: silentLog,
  })
  onTestFinished(() => endpoint[Symbol.asyncDispose]())
  await endpoint.start()
  const base = `http://127.0.0.1:${endpoint.port}`
  const plain = await fetch(`${base}/stats/prometheus`)
  expect(plain.headers.get('content-type')).toBe('text/plain; charset=utf-8')
  expect(await plain.text()).toMatch(/# EOF\n$/)
  const open = await fetch(`${base}/metrics`, {
    headers: { accept: 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5' },
  })
  expect(open.headers.get('content-type')).toBe(
    'application/openmetrics-text;charset=utf-8;version=1.0.0',
  )
  expect((await fetch(`${base}/other`)).status).toBe(404)
})
