import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../shared/runtime/clock.ts'
import { LineWriter } from '../shared/runtime/line-writer.ts'
import { createLog } from '../shared/runtime/log.ts'
import type { WorkerStart } from './data-plane/messages.ts'
import { TrafficThread } from './data-plane/traffic-thread.ts'

/** Standard error. */
const LOG_FD = 2

// The main thread of the same program made it.
const start = workerData as WorkerStart
const lines = new LineWriter(LOG_FD, (dropped) => log.warn('log lines dropped', { lines: dropped }))
const log = createLog({
  level: start.logLevel,
  format: start.logFormat,
  write: (line) => lines.write(line),
}).child('ztunnel')

process.on('exit', () => lines.flush())

if (parentPort !== null) {
  void new TrafficThread({
    port: parentPort,
    start,
    clock: systemClock,
    log,
    flushLog: () => lines.flush(),
  })
}
