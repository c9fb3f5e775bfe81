import { parentPort, workerData } from 'node:worker_threads'
import { z } from 'zod'

/**
 * Wakes its parent at each moment of a fixed schedule. Timers of an event loop are a millisecond coarse, which is more
 * than what is measured; a thread that sleeps in the kernel is exact to some microseconds.
 */
const { startMs, intervalMs, count } = z
  .object({ startMs: z.number(), intervalMs: z.number().positive(), count: z.int() })
  .parse(workerData)

const never = new Int32Array(new SharedArrayBuffer(4))
const nowMs = (): number => performance.timeOrigin + performance.now()

for (let tick = 0; tick < count; tick++) {
  const wait = startMs + tick * intervalMs - nowMs()
  if (wait > 0) Atomics.wait(never, 0, 0, wait)
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a rule for windows, not threads
  parentPort?.postMessage(tick)
}
