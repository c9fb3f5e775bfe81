import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { PING_TIMEOUT_MS } from '../../shared/hbone/keepalive.ts'
import { tcpPair } from '../../shared/hbone/testing-tls.ts'
import { hbonePair } from '../../shared/hbone/testing-tunnel.ts'
import { FakeClock, type Timer } from '../../shared/runtime/clock.ts'
import { acceptedChannel } from './socket-channel.ts'
import { splice } from './splice.ts'

const DAY_MS = 86_400_000
/** Below the time that a PING has for its answer, which real sockets carry. */
const STEP_MS = PING_TIMEOUT_MS / 2

/** Knows how many answers to PINGs are awaited. */
class PingClock extends FakeClock {
  unanswered = 0

  override after(ms: number, fn: () => void): Timer {
    if (ms !== PING_TIMEOUT_MS) return super.after(ms, fn)
    this.unanswered++
    let waits = true
    const done = (): void => {
      if (waits) this.unanswered--
      waits = false
    }
    const timer = super.after(ms, () => {
      done()
      fn()
    })
    return {
      cancel: () => {
        done()
        timer.cancel()
      },
    }
  }
}

test.each(['both sides open', 'one side closed'])(
  'a connection without a byte for a day lives on, %s',
  async (state) => {
    const clock = new PingClock()
    using caller = await tcpPair()
    using app = await tcpPair()
    using hbone = await hbonePair({ clock })
    const tunnel = await hbone.open()
    const none = { onLeftBytes: () => undefined, onRightBytes: () => undefined }
    const ends = [
      splice(acceptedChannel(caller.server).channel, tunnel.client.channel, none),
      splice(tunnel.server.channel, acceptedChannel(app.client).channel, none),
    ]
    caller.client.write('question')
    await once(app.server, 'data')
    if (state === 'one side closed') {
      caller.client.end()
      await once(app.server, 'end')
    }
    let pings = 0
    for (let idle = 0; idle < DAY_MS; idle += STEP_MS) {
      clock.advance(STEP_MS)
      pings += clock.unanswered
      while (clock.unanswered > 0) await turn()
    }
    expect(pings).toBeGreaterThan(DAY_MS / STEP_MS)
    app.server.end('answer')
    const [answer] = (await once(caller.client, 'data')) as [Buffer]
    expect(answer.toString()).toBe('answer')
    if (state !== 'one side closed') caller.client.end()
    expect(await Promise.all(ends)).toEqual([{ kind: 'complete' }, { kind: 'complete' }])
  },
)
