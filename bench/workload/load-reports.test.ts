import { expect, test } from 'vitest'
import { idleCount } from './idle-connections.ts'
import { parseIperfReport } from './iperf3.ts'
import { wholeSeconds } from './load-command.ts'
import { parseOpenLoopReport } from './open-loop.ts'
import { parseRedisReport } from './redis-pipeline.ts'
import { parseWrkReport } from './wrk.ts'

const WRK = `Running 1s test @ http://10.0.0.1:8080/0.1k
  1 threads and 8 connections
wrk-report {"requests":500,"microseconds":2000000,"bytes":170000,"errors":3,"p50":1500,"p90":2000,"p99":3000,"p999":4000}
`

test('wrk: rate and latencies, in milliseconds', () => {
  expect(parseWrkReport(WRK)).toEqual({
    value: 250,
    seconds: 2,
    requests: 500,
    bytes: 170_000,
    errors: 3,
    latencyMs: { p50: 1.5, p90: 2, p99: 3, p999: 4 },
  })
  expect(() => parseWrkReport(WRK.replace('"requests":500', '"requests":0'))).toThrow(
    'no request was answered',
  )
  expect(() => parseWrkReport('unable to connect')).toThrow()
})

test('iperf3: what arrived counts', () => {
  const end = {
    sum_sent: { seconds: 1, bytes: 9, bits_per_second: 72 },
    sum_received: { seconds: 2, bytes: 1e9, bits_per_second: 4e9 },
  }
  expect(parseIperfReport(JSON.stringify({ end }))).toEqual({
    value: 4,
    seconds: 2,
    bytes: 1e9,
    errors: 0,
  })
  expect(() => parseIperfReport('{"error":"busy"}')).toThrow()
})

test('redis-benchmark: the first point of the curve that is far enough', () => {
  const text = `====== GET ======
  100000 requests completed in 0.50 seconds
Latency by percentile distribution:
0.000% <= 0.119 milliseconds (cumulative count 1)
50.000% <= 0.331 milliseconds (cumulative count 51000)
87.500% <= 0.400 milliseconds (cumulative count 87600)
93.750% <= 0.431 milliseconds (cumulative count 94000)
99.219% <= 0.600 milliseconds (cumulative count 99300)
100.000% <= 0.999 milliseconds (cumulative count 100000)
Cumulative distribution of latencies:
0.000% <= 0.103 milliseconds (cumulative count 0)
Summary:
  throughput summary: 200000.00 requests per second
`
  expect(parseRedisReport(text)).toEqual({
    value: 200_000,
    seconds: 0.5,
    requests: 100_000,
    errors: 0,
    latencyMs: { p50: 0.331, p90: 0.431, p99: 0.6, p999: 0.999 },
  })
  expect(() => parseRedisReport('Could not connect')).toThrow('no report')
})

test('the open loop: answers that are missing are errors', () => {
  const latencyMs = { p50: 1, p90: 2, p99: 3, p999: 4, max: 5 }
  const report = {
    answered: 90,
    failed: 4,
    unanswered: 6,
    seconds: 1,
    latencyMs,
    latenessMs: latencyMs,
  }
  const outcome = parseOpenLoopReport(JSON.stringify(report))
  expect(outcome).toMatchObject({ value: 3, requests: 90, errors: 10, latencyMs: { p999: 4 } })
  expect(outcome.notes).toEqual(['the generator itself was late by 3.00 ms at p99'])
  expect(() => parseOpenLoopReport(JSON.stringify({ ...report, answered: 0 }))).toThrow(
    'no request was answered',
  )
})

test('idle connections: as many as the descriptors allow', () => {
  const across = { descriptorsPerConnection: 1, bothEndsInOneProcess: false } as const
  const pair = { descriptorsPerConnection: 2, bothEndsInOneProcess: false } as const
  const both = { descriptorsPerConnection: 4, bothEndsInOneProcess: true } as const
  expect([across, pair, both].map((one) => idleCount(one, 100_000, false))).toEqual([
    10_000, 10_000, 5_000,
  ])
  expect([across, pair, both].map((one) => idleCount(one, 10_000, false))).toEqual([
    8_000, 4_000, 2_000,
  ])
  expect(idleCount(pair, Number.POSITIVE_INFINITY, true)).toBe(1_000)
  expect(idleCount(pair, 1_024, false)).toBe(1)
})

test('generators get whole seconds, one at least', () => {
  expect([200, 1_000, 2_600].map(wholeSeconds)).toEqual([1, 1, 3])
})
