/** What a test does to a worker: blocks it, and then lets an exception go uncaught. */
export interface Fault {
  readonly number: number
  readonly blockMs: number
  readonly crash: boolean
}

/** The channel on which workers hear of it. */
export const FAULTS = 'ambit-testing-faults'
