import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { PING_INTERVAL_MS, PING_TIMEOUT_MS } from './keepalive.ts'
import { hbonePair } from './testing-tunnel.ts'

test.each(['client', 'server'] as const)(
  'a tunnel outlives every PING timeout after the %s began to drain',
  async (end) => {
    const clock = new FakeClock()
    using pair = await hbonePair({ clock })
    const { client, server } = await pair.open()
    pair[end].drain()
    for (let round = 0; round < 5; round++) {
      clock.advance(PING_INTERVAL_MS)
      for (let turns = 0; turns < 5; turns++) await turn()
      clock.advance(PING_TIMEOUT_MS + 1)
      const arrived = once(server.stream, 'data')
      client.stream.write('still here')
      expect(String(await arrived)).toBe('still here')
      // The clock must not run ahead of the answers to PING.
      for (let turns = 0; turns < 10; turns++) await turn()
    }
  },
)
