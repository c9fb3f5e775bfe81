import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import {
  memoryOf,
  parseContextSwitches,
  parseCpuSeconds,
  parseRollup,
  processTree,
  usageOf,
} from './process-usage.ts'

test('CPU time is found behind any name of a process', () => {
  const stat = '7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 150 3 4 20 0 1 0 9 1 1'
  expect(parseCpuSeconds(stat)).toBe(4)
})

test('memory and context switches are read in their units', () => {
  expect(
    parseRollup('55-7f ---p [rollup]\nRss:     12 kB\nPss:      10 kB\nPss_Anon: 9 kB\n'),
  ).toEqual({
    rssBytes: 12_288,
    pssBytes: 10_240,
  })
  const status = 'Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t7\n'
  expect(parseContextSwitches(status)).toBe(12)
})

test('a process that works is seen to', () => {
  const before = usageOf([process.pid])
  const until = performance.now() + 100
  while (performance.now() < until);
  expect(usageOf([process.pid]).cpuSeconds - before.cpuSeconds).toBeGreaterThan(0.01)
  const memory = memoryOf([process.pid])
  expect(memory.pssBytes).toBeGreaterThan(1_000_000)
  expect(memory.rssBytes).toBeGreaterThanOrEqual(memory.pssBytes)
})

test('the tree of a process holds its children', async () => {
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; wait'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  onTestFinished(() => void parent.kill())
  const [line] = await once(parent.stdout, 'data')
  const child = Number(String(line))
  onTestFinished(() => void process.kill(child))
  expect(processTree(parent.pid ?? 0)).toEqual([parent.pid, child])
})
