import { BroadcastChannel, workerData } from 'node:worker_threads'
import '../worker.ts'
import type { WorkerStart } from './messages.ts'
import { FAULTS, type Fault } from './testing-faults.ts'

const { number } = workerData as WorkerStart
const faults = new BroadcastChannel(FAULTS)
faults.unref()
faults.addEventListener('message', (event) => {
  const fault = Reflect.get(event, 'data') as Fault
  if (fault.number !== number) return
  if (fault.blockMs > 0) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, fault.blockMs)
  }
  if (fault.crash) throw new Error('crashed as the test wishes')
})
