import { describe, expect, test } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { createLog, type LogLevel } from '../runtime/log.ts'
import { mergeLinks } from './link-table.ts'
import { Metrics } from './metrics.ts'
import { createTelemetry } from './recorder.ts'
import { record, strangers, workload } from './testing-record.ts'

const OK = { flag: '-', error: undefined } as const

function setup(options: { level?: LogLevel; maxLabelSets?: number; idleMs?: number } = {}) {
  const lines: Record<string, unknown>[] = []
  const { level = 'info', ...rest } = options
  const log = createLog({
    level,
    format: 'json',
    write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>),
  })
  const clock = new FakeClock()
  const metrics = new Metrics()
  return { lines, clock, metrics, telemetry: createTelemetry({ metrics, log, clock, ...rest }) }
}

const samplesOf = async (metrics: Metrics, name: string): Promise<string[]> =>
  (await metrics.exposition()).split('\n').filter((line) => line.startsWith(name))

describe('the traffic metrics', () => {
  test('have the labels of Istio in their order, with unknown for what is empty', async () => {
    const { metrics, telemetry } = setup()
    telemetry.open(record())
    expect(await samplesOf(metrics, 'istio_tcp_connections_opened')).toEqual([
      'istio_tcp_connections_opened_total{reporter="source",source_workload="frontend",' +
        'source_canonical_service="frontend",source_canonical_revision="v2",' +
        'source_workload_namespace="shop",' +
        'source_principal="spiffe://cluster.local/ns/shop/sa/frontend",' +
        'source_app="frontend",source_version="v2",source_cluster="Kubernetes",' +
        'destination_service="payments.shop.svc.cluster.local",' +
        'destination_service_namespace="shop",destination_service_name="payments",' +
        'destination_workload="payments",destination_canonical_service="payments",' +
        'destination_canonical_revision="v2",destination_workload_namespace="shop",' +
        'destination_principal="spiffe://cluster.local/ns/shop/sa/payments",' +
        'destination_app="payments",destination_version="v2",destination_cluster="Kubernetes",' +
        'request_protocol="tcp",response_flags="-",connection_security_policy="mutual_tls",' +
        'source_region="eu",source_zone="eu-1",destination_region="unknown",' +
        'destination_zone="unknown"} 1',
    ])
  })

  test('have no locality when neither workload is known', async () => {
    const { metrics, telemetry } = setup()
    telemetry.open(strangers())
    const [line = ''] = await samplesOf(metrics, 'istio_tcp_connections_opened')
    expect(line).toMatch(/connection_security_policy="unknown"} 1$/)
    expect(line).toContain('source_workload="unknown"')
  })

  test('never name a principal that no handshake proved', async () => {
    const { metrics, telemetry } = setup()
    telemetry.open(record({ mutualTls: false }))
    const [line = ''] = await samplesOf(metrics, 'istio_tcp_connections_opened')
    expect(line).toContain('source_principal="unknown"')
    expect(line).toContain('destination_principal="unknown"')
  })

  test('count bytes while the connection is open', async () => {
    const { metrics, telemetry } = setup()
    const meter = telemetry.open(record())
    meter.received(7)
    meter.received(3)
    meter.sent(1_000)
    expect((await samplesOf(metrics, 'istio_tcp_received_bytes_total'))[0]).toMatch(/ 10$/)
    expect((await samplesOf(metrics, 'istio_tcp_sent_bytes_total'))[0]).toMatch(/ 1000$/)
    expect(await samplesOf(metrics, 'istio_tcp_sockets_open')).toEqual([
      'istio_tcp_sockets_open{reporter="source"} 1',
    ])
  })

  test('closing twice counts and logs once', async () => {
    const { metrics, telemetry, lines } = setup()
    const meter = telemetry.open(record())
    meter.close(OK)
    meter.close({ flag: 'CONNECT', error: 'too late' })
    expect((await samplesOf(metrics, 'istio_tcp_connections_closed_total'))[0]).toMatch(/ 1$/)
    expect(await samplesOf(metrics, 'istio_tcp_connections_failed')).toEqual([])
    expect(await samplesOf(metrics, 'istio_tcp_sockets_open')).toEqual([
      'istio_tcp_sockets_open{reporter="source"} 0',
    ])
    expect(lines).toHaveLength(1)
  })

  test('a failure carries its flag, a denial its reason', async () => {
    const { metrics, telemetry } = setup()
    telemetry
      .open(record({ direction: 'inbound' }))
      .close({ flag: 'DENY', error: 'denied', reason: 'not-allowed' })
    telemetry
      .open(record({ direction: 'inbound' }))
      .close({ flag: 'DENY', error: 'denied', reason: 'text of a peer' })
    const [failed = ''] = await samplesOf(metrics, 'istio_tcp_connections_failed_total')
    expect(failed).toContain('reporter="destination"')
    expect(failed).toContain('response_flags="DENY"')
    expect(failed).toMatch(/ 2$/)
    expect(await samplesOf(metrics, 'ambit_denials')).toEqual([
      'ambit_denials_total{reporter="destination",reason="not-allowed"} 1',
      'ambit_denials_total{reporter="destination",reason="other"} 1',
    ])
  })

  test('set-up time and time to first byte are measured once per connection', async () => {
    const { metrics, telemetry } = setup()
    const meter = telemetry.open(record())
    meter.established(4)
    meter.established(400)
    meter.firstByte(20)
    meter.firstByte(2_000)
    const pair =
      '{reporter="source",source_workload="frontend",source_workload_namespace="shop",' +
      'destination_workload="payments",destination_workload_namespace="shop"}'
    expect(await samplesOf(metrics, 'ambit_connection_setup_seconds_sum')).toEqual([
      `ambit_connection_setup_seconds_sum${pair} 0.004`,
    ])
    expect(await samplesOf(metrics, 'ambit_connection_first_byte_seconds_count')).toEqual([
      `ambit_connection_first_byte_seconds_count${pair} 1`,
    ])
  })
})

describe('the bound of label sets', () => {
  const caller = (name: string) =>
    record({ source: { workload: workload(name), identity: undefined } })

  test('the set unused for the longest makes room', async () => {
    const { metrics, telemetry, clock } = setup({ maxLabelSets: 2 })
    for (const name of ['a', 'b', 'c']) {
      telemetry.open(caller(name)).close(OK)
      clock.advance(1)
    }
    const lines = await samplesOf(metrics, 'istio_tcp_connections_opened_total')
    expect(lines.map((line) => /source_workload="(\w+)"/.exec(line)?.[1])).toEqual(['b', 'c'])
  })

  test('connections beyond it count as overflow while all sets are in use', async () => {
    const { metrics, telemetry } = setup({ maxLabelSets: 1 })
    telemetry.open(caller('a'))
    const extra = telemetry.open(caller('b'))
    extra.sent(5)
    extra.close(OK)
    const lines = await samplesOf(metrics, 'istio_tcp_sent_bytes_total')
    expect(lines).toHaveLength(2)
    expect(lines[1]).toContain('source_workload="overflow"')
    expect(lines[1]).toMatch(/ 5$/)
    expect(await samplesOf(metrics, 'ambit_traffic_label_sets')).toEqual([
      'ambit_traffic_label_sets 1',
    ])
  })

  test('sets without a connection are forgotten after a while, held ones never', async () => {
    const { metrics, telemetry, clock } = setup({ idleMs: 1_000 })
    telemetry.open(caller('gone')).established(1)
    telemetry.open(caller('gone'))
    telemetry.open(caller('idle')).close(OK)
    clock.advance(1_000)
    const lines = await samplesOf(metrics, 'istio_tcp_connections_opened_total')
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain('source_workload="gone"')
  })

  test('histograms go with their pair', async () => {
    const { metrics, telemetry, clock } = setup({ idleMs: 1_000 })
    const meter = telemetry.open(caller('a'))
    meter.established(1)
    meter.close(OK)
    expect(await samplesOf(metrics, 'ambit_connection_setup_seconds_count')).toHaveLength(1)
    clock.advance(1_000)
    await metrics.exposition()
    expect(await samplesOf(metrics, 'ambit_connection_setup_seconds_count')).toEqual([])
  })
})

describe('the access log', () => {
  const withoutTime = ({ time: _time, ...rest }: Record<string, unknown>) => rest

  test('names the keys in the order of Istio and swaps the bytes of the source', () => {
    const { telemetry, lines, clock } = setup()
    const meter = telemetry.open(record())
    meter.received(10)
    meter.sent(2_000)
    clock.advance(13)
    meter.close(OK)
    expect(Object.entries(withoutTime(lines[0] ?? {}))).toEqual(
      Object.entries({
        level: 'info',
        scope: 'access',
        'src.addr': '10.244.1.2:40000',
        'src.workload': 'frontend-7c9f',
        'src.namespace': 'shop',
        'src.identity': 'spiffe://cluster.local/ns/shop/sa/frontend',
        'src.cluster': 'Kubernetes',
        'dst.addr': '10.244.2.3:15008',
        'dst.hbone_addr': '10.244.2.3:8080',
        'dst.service': 'payments.shop.svc.cluster.local',
        'dst.workload': 'payments-7c9f',
        'dst.namespace': 'shop',
        'dst.identity': 'spiffe://cluster.local/ns/shop/sa/payments',
        'dst.cluster': 'Kubernetes',
        direction: 'outbound',
        bytes_sent: 10,
        bytes_recv: 2_000,
        duration: '13ms',
        trace_id: '0af7651916cd43dd8448eb211c80319c',
        message: 'connection complete',
      }),
    )
  })

  test('the destination logs what it sent to the client as sent', () => {
    const { telemetry, lines } = setup()
    const meter = telemetry.open(record({ direction: 'inbound' }))
    meter.received(10)
    meter.sent(2_000)
    meter.close(OK)
    expect(lines[0]).toMatchObject({ bytes_sent: 2_000, bytes_recv: 10, direction: 'inbound' })
  })

  test('a failure is an error with its text, after the duration', () => {
    const { telemetry, lines } = setup()
    telemetry.open(strangers()).close({ flag: 'CONNECT', error: 'connection refused' })
    expect(Object.keys(withoutTime(lines[0] ?? {}))).toEqual(
      // biome-ignore format: the order is what is tested
      ['level', 'scope', 'src.addr', 'dst.addr', 'direction', 'bytes_sent', 'bytes_recv', 'duration', 'error', 'message'],
    )
    expect(lines[0]).toMatchObject({ level: 'error', error: 'connection refused' })
  })

  test('the opening is logged at debug only', () => {
    const quiet = setup()
    quiet.telemetry.open(record())
    expect(quiet.lines).toEqual([])
    const loud = setup({ level: 'debug' })
    loud.telemetry.open(record())
    expect(loud.lines[0]).toMatchObject({ level: 'debug', message: 'connection opened' })
    expect(loud.lines[0]).not.toHaveProperty('duration')
  })

  test('an early refusal names the addresses, the workload, the direction and the error', async () => {
    const { telemetry, lines, metrics } = setup()
    telemetry.refused({
      direction: 'inbound',
      sourceAddress: '10.0.0.1:1',
      destinationAddress: '10.0.0.2:15008',
      workload: 'shop/payments',
      error: 'tls handshake failed',
      flag: 'TLS_FAILURE',
    })
    expect(withoutTime(lines[0] ?? {})).toEqual({
      level: 'warn',
      scope: 'access',
      'src.addr': '10.0.0.1:1',
      'dst.addr': '10.0.0.2:15008',
      'dst.workload': 'payments',
      'dst.namespace': 'shop',
      direction: 'inbound',
      error: 'tls handshake failed',
      message: 'connection failed',
    })
    expect(await samplesOf(metrics, 'ambit_connections_refused')).toEqual([
      'ambit_connections_refused_total{reporter="destination",response_flags="TLS_FAILURE"} 1',
    ])
  })
})

describe('the live table', () => {
  test('has one row a pair, with its counts and recent quantiles', () => {
    const { telemetry, clock } = setup()
    for (let ms = 1; ms <= 100; ms++) {
      const meter = telemetry.open(record())
      meter.established(ms)
      meter.sent(10)
      if (ms < 100) meter.close(OK)
    }
    telemetry
      .open(record())
      .close({ flag: 'DENY', error: 'x', reason: 'not-allowed', policy: 'shop/p' })
    telemetry.open(record({ mutualTls: false })).close({ flag: 'CONNECT', error: 'x' })
    clock.advance(5)
    const [plain, secure] = telemetry.links
      .rows()
      .toSorted((a, b) => b.security.localeCompare(a.security))
    expect(plain).toMatchObject({ security: 'plaintext', connections: { total: 1, failed: 1 } })
    expect(secure).toMatchObject({
      source: { workload: 'frontend', namespace: 'shop' },
      destination: { workload: 'payments', version: 'v2' },
      security: 'mutual_tls',
      connections: { open: 1, total: 101, denied: 1, failed: 0 },
      bytes: { received: 0, sent: 1_000 },
      lastDenial: { reason: 'not-allowed', policy: 'shop/p' },
      firstByteMs: undefined,
      idleMs: 5,
    })
    expect(secure?.setupMs?.count).toBe(100)
    expect(secure?.setupMs?.p50).toBeGreaterThan(50 * 0.95)
    expect(secure?.setupMs?.p50).toBeLessThan(50 * 1.05)
    expect(secure?.setupMs?.p99).toBeGreaterThan(99 * 0.95)
    expect(secure?.setupMs?.p99).toBeLessThan(99 * 1.05)
  })

  test('names an end without a workload by its address, of either family', () => {
    const { telemetry } = setup()
    telemetry.open(
      strangers({ sourceAddress: '[fd00::1]:999', destinationAddress: '192.0.2.7:443' }),
    )
    expect(telemetry.links.rows()[0]).toMatchObject({
      source: { workload: undefined, address: '[fd00::1]' },
      destination: { address: '192.0.2.7' },
    })
  })

  test('rows of several threads make one, as if all connections had been on one', () => {
    const threads = [setup(), setup()]
    for (const [at, { telemetry, clock }] of threads.entries()) {
      const meter = telemetry.open(strangers({}))
      meter.sent(100)
      for (let ms = 1; ms <= 50; ms++) {
        const other = telemetry.open(strangers({}))
        other.established(at * 50 + ms)
        other.close({ flag: '-', error: undefined })
      }
      if (at === 0) {
        const denied = telemetry.open(strangers({}))
        denied.close({ flag: 'DENY', error: 'no', policy: 'shop/p', reason: 'not-allowed' })
        clock.advance(7)
      }
    }
    const [row, ...more] = mergeLinks(
      threads.flatMap(({ telemetry }) => telemetry.links.snapshot()),
    )
    expect(more).toEqual([])
    expect(row).toMatchObject({
      connections: { open: 2, total: 103, denied: 1, failed: 0 },
      bytes: { sent: 200 },
      lastDenial: { reason: 'not-allowed', policy: 'shop/p' },
      idleMs: 0,
    })
    expect(row?.setupMs?.count).toBe(100)
    expect(row?.setupMs?.p50).toBeGreaterThan(50 * 0.95)
    expect(row?.setupMs?.p50).toBeLessThan(50 * 1.05)
    expect(row?.setupMs?.p99).toBeGreaterThan(99 * 0.95)
    expect(row?.setupMs?.p99).toBeLessThan(99 * 1.05)
  })
})
