import { Duplex } from 'node:stream'
import type { Channel } from './channel.ts'

/** What either half of the stream keeps, beside what the channel keeps, in bytes. */
const HIGH_WATER_BYTES = 64 * 1024

/**
 * A Node stream over a channel, for callers that need one. It ends as the channel does: `end` and `finish` for clean
 * ends, `error` for everything else. Its destruction before both ends is a cut, with or without an error.
 */
export function toDuplex(channel: Channel): Duplex {
  let drained: (() => void) | undefined
  let finished: (() => void) | undefined
  let failure: Error | undefined
  let paused = true
  const duplex = new Duplex({
    allowHalfOpen: true,
    highWaterMark: HIGH_WATER_BYTES,
    read() {
      if (!paused) return
      paused = false
      channel.resume()
    },
    write(chunk: Buffer, _encoding, callback) {
      if (channel.write(chunk)) callback()
      else drained = callback
    },
    final(callback) {
      finished = callback
      channel.end()
    },
    destroy(error, callback) {
      // Does nothing after two clean ends; else `failed` is told from inside.
      channel.cut(error ?? new Error('the stream was destroyed'))
      callback(failure ?? error)
    },
  })
  // Errors reach whoever listens; that nobody does (yet, or any more) must not end the process.
  duplex.on('error', () => undefined)
  channel.attach({
    data(chunk) {
      if (duplex.push(Buffer.from(chunk))) return
      paused = true
      channel.pause()
    },
    ended() {
      duplex.push(null)
    },
    drained() {
      const callback = drained
      drained = undefined
      callback?.()
    },
    finished() {
      finished?.()
    },
    failed(error) {
      failure = error
      duplex.destroy(error)
    },
  })
  return duplex
}
