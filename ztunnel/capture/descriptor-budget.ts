import { randomUUID } from 'node:crypto'
import { BroadcastChannel } from 'node:worker_threads'

const FLAGS = { paused: 0, crowded: 1 } as const
const LIMIT = 2
const FIRST_SLOT = 3

/** Accepting pauses at this share of the limit. */
const ACCEPTING_SHARE = 0.8

/**
 * `paused`: nothing is accepted. `crowded`: also what comes inside connections that are open already has to wait. In
 * between is room for the second half of what was accepted, which may well be a tunnel to another pod of this node:
 * or connections could hold everything, and all wait for each other.
 */
export type BudgetFlag = keyof typeof FLAGS

/** What a thread needs to take part; can be sent to another thread. */
export interface SharedBudget {
  readonly memory: SharedArrayBuffer
  /** The name of the channel on which threads tell each other that a flag has changed. */
  readonly channel: string
}

/**
 * How many descriptors all threads together may hold for captured traffic, and whether that is much, in shared
 * memory: a thread that is blocked, or gone, holds up no other. Threads hear of changes by a broadcast.
 */
export class DescriptorBudget implements Disposable {
  readonly shared: SharedBudget
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #channel: BroadcastChannel
  readonly #listeners = new Set<() => void>()
  #disposed = false

  constructor(shared: SharedBudget) {
    this.shared = shared
    this.#words = new Int32Array(shared.memory)
    this.#channel = new BroadcastChannel(shared.channel)
    this.#channel.unref()
    this.#channel.addEventListener('message', () => this.#announce())
  }

  /** `slots`: how many threads count, each on its own. */
  static of(limit: number, slots: number): DescriptorBudget {
    const bytes = (FIRST_SLOT + slots) * Int32Array.BYTES_PER_ELEMENT
    const channel = `descriptor-budget-${randomUUID()}`
    const budget = new DescriptorBudget({ memory: new SharedArrayBuffer(bytes), channel })
    budget.#words[LIMIT] = limit
    return budget
  }

  get limit(): number {
    return this.#words[LIMIT] ?? 0
  }

  /** Descriptors held by all threads. */
  get held(): number {
    let sum = 0
    for (let at = FIRST_SLOT; at < this.#words.length; at++) sum += Atomics.load(this.#words, at)
    return sum
  }

  is(flag: BudgetFlag): boolean {
    return Atomics.load(this.#words, FLAGS[flag]) === 1
  }

  /** Whether this call was the one that paused accepting: the other threads only follow. */
  add(slot: number, descriptors: number): boolean {
    Atomics.add(this.#words, FIRST_SLOT + slot, descriptors)
    return this.#update()
  }

  /** The thread of this slot is gone, and all its descriptors with it. */
  clear(slot: number): void {
    Atomics.store(this.#words, FIRST_SLOT + slot, 0)
    this.#update()
  }

  /** Calls `listener` when a flag has changed: at once if this thread changed it, else soon. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  /** This thread takes no part any more. */
  [Symbol.dispose](): void {
    this.#disposed = true
    this.#channel.close()
    this.#listeners.clear()
  }

  #update(): boolean {
    const paused = this.#raise('paused', this.limit * ACCEPTING_SHARE)
    this.#raise('crowded', this.limit)
    // Once more after raising: who gave something back between the two looks saw no flag to lower.
    this.#lower('paused', this.limit * ACCEPTING_SHARE)
    this.#lower('crowded', this.limit)
    return paused
  }

  #raise(flag: BudgetFlag, at: number): boolean {
    return this.held >= at && this.#turn(flag, 0, 1)
  }

  /** When a tenth is free again. */
  #lower(flag: BudgetFlag, at: number): void {
    if (this.is(flag) && this.held <= at * 0.9) this.#turn(flag, 1, 0)
  }

  #turn(flag: BudgetFlag, from: 0 | 1, to: 0 | 1): boolean {
    if (Atomics.compareExchange(this.#words, FLAGS[flag], from, to) !== from) return false
    if (this.#disposed) return true
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
    this.#channel.postMessage(undefined)
    this.#announce()
    return true
  }

  #announce(): void {
    for (const listener of this.#listeners) listener()
  }
}
