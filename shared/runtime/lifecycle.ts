import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from './errors.ts'
import type { Log } from './log.ts'

/**
 * A part of a program with a beginning and an end. `start` binds what it serves, so that a taken port stops the
 * program; `drain` stops taking new work and settles when the open work is done or `deadline` aborts;
 * disposal is the force, and works in every state.
 */
export interface Component extends AsyncDisposable {
  readonly name: string
  start(): Promise<void>
  drain(deadline: AbortSignal): Promise<void>
}

export interface RunOptions {
  readonly log: Log
  /** How long open work may go on after the first signal, in milliseconds. */
  readonly drainMs: number
  /** Ends the program like SIGTERM does; for `POST /quitquitquit`. */
  readonly stop: AbortSignal
  /** Stops taking new work, as soon as the program is told to end and before the log says that it drains. */
  readonly stopAccepting?: () => Promise<void>
}

/**
 * Starts the components in order, waits for SIGTERM, SIGINT or `stop`, drains all at once under one deadline, and
 * disposes in reverse order. A failing start disposes what had started. A second SIGINT or SIGTERM exits at once.
 */
export async function run(components: readonly Component[], options: RunOptions): Promise<void> {
  const { log } = options
  await using stack = new AsyncDisposableStack()
  stack.use(keepAlive())
  for (const component of components) {
    stack.use(component)
    await component.start()
  }
  await stopRequested(options.stop)
  process.on('SIGTERM', () => process.exit(1))
  process.on('SIGINT', () => process.exit(1))
  await options.stopAccepting?.()
  log.info('draining', { deadline_ms: options.drainMs })
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(), options.drainMs)
  const ends = await Promise.allSettled(components.map((one) => one.drain(deadline.signal)))
  clearTimeout(timer)
  for (const [index, end] of ends.entries()) {
    if (end.status === 'rejected') {
      const name = components[index]?.name
      log.warn('a component did not drain', { component: name, error: describeError(end.reason) })
    }
  }
  log.info('stopped')
}

/** Keeps the process from ending while it waits for timers, which are unreferenced, and has no socket open. */
export function keepAlive(): Disposable {
  const alive = setInterval(() => undefined, 60_000)
  return { [Symbol.dispose]: () => clearInterval(alive) }
}

async function stopRequested(stop: AbortSignal): Promise<void> {
  if (stop.aborted) return
  const done = new AbortController()
  const { signal } = done
  await Promise.race([
    once(process, 'SIGTERM', { signal }),
    once(process, 'SIGINT', { signal }),
    once(stop, 'abort', { signal }),
  ]).finally(() => done.abort())
}

/** Waits until `isDone`, looking again whenever `changed` fires, or until `deadline` aborts. */
export async function settled(
  isDone: () => boolean,
  changed: (listener: () => void) => () => void,
  deadline: AbortSignal,
): Promise<void> {
  if (isDone() || deadline.aborted) return
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (!isDone() && !deadline.aborted) return
      stopListening()
      deadline.removeEventListener('abort', look)
      resolve()
    }
    const stopListening = changed(look)
    deadline.addEventListener('abort', look)
  })
}

/** Waits `ms`, or less when `signal` aborts; never rejects. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}
