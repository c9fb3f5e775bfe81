import type { H2Error } from './frame.ts'
import type { MemoryAccount } from './memory-account.ts'
import type { RequestHead, ResponseHead } from './message.ts'
import type { Stream } from './stream.ts'

export interface ConnectionLimits {
  /** The window that every stream starts with. */
  readonly startWindowBytes: number
  /** What it may grow to. */
  readonly streamWindowBytes: number
  /** What the peer may send on all streams before it has arrived; it never waits for a reader. */
  readonly connectionWindowBytes: number
  readonly maxFrameBytes: number
  readonly maxHeaderListBytes: number
  /** Streams that the peer may have open at once; 0 for a client. */
  readonly maxStreams: number
}

/** What a connection tells its owner. Calls come from inside `receive` and the calls of streams. */
export interface ConnectionEvents {
  /** Something waits in the outbox; told often. */
  wake(): void
  /** The first SETTINGS of the peer have come. */
  ready(): void
  /** Server: a request that keeps to the rules. */
  request(stream: Stream, head: RequestHead): void
  /** Client: the answer to a request, once. */
  answer(stream: Stream, head: ResponseHead): void
  /** The answer to `askAlive`. */
  pong(): void
  /** The peer said GOAWAY. */
  goaway(code: number): void
  /** A stream has left `streams`. */
  gone(stream: Stream): void
  /** The peer broke the protocol: all streams have failed, GOAWAY is in the outbox, nothing is read any more. */
  failed(error: H2Error): void
  /** A request was reset before anybody heard of it: its headers are too much, or not those of a request. */
  refused(error: H2Error): void
}

export interface ConnectionOptions {
  readonly role: 'client' | 'server'
  readonly limits: ConnectionLimits
  readonly memory: MemoryAccount
  /** Milliseconds that never jump; only for rates of abuse. */
  readonly now: () => number
  readonly events: ConnectionEvents
}
