import { describe, expect, test } from 'vitest'
import { CLIENT_PREFACE, ErrorCode, FrameFlag, FrameType } from './frame.ts'
import { MemoryAccount } from './memory-account.ts'
import { Collector, End, type EndOptions, exchange, joined } from './testing-connection.ts'
import { frameBytes } from './testing-frame-events.ts'

const { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE } = FrameType
const { END_STREAM, END_HEADERS, ACK } = FrameFlag

/** Fields as literals without indexing. */
function block(...fields: readonly [string, string][]): string {
  const text = (value: string): Buffer =>
    Buffer.concat([Buffer.of(value.length), Buffer.from(value)])
  const parts = fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)])
  return Buffer.concat(parts).toString('hex')
}

const CONNECT = block([':method', 'CONNECT'], [':authority', '10.0.0.1:80'])
const OK = block([':status', '200'])
const connect = (stream: number, flags: number = END_HEADERS): Buffer =>
  frameBytes(HEADERS, flags, stream, CONNECT)
const data = (stream: number, bytes: number, flags = 0): Buffer =>
  frameBytes(DATA, flags, stream, '61'.repeat(bytes))
const u32 = (value: number): string => value.toString(16).padStart(8, '0')
const window = (stream: number, increment: number): Buffer =>
  frameBytes(WINDOW_UPDATE, 0, stream, u32(increment))
const reset = (stream: number, code: number): Buffer => frameBytes(RST_STREAM, 0, stream, u32(code))

function server(options: EndOptions = {}): End {
  const end = new End('server', options)
  end.onRequest = (stream) =>
    end.connection.respond(stream, [{ name: ':status', value: '200' }], false)
  end.connection.receive(CLIENT_PREFACE)
  end.connection.receive(frameBytes(SETTINGS, 0, 0))
  end.output()
  return end
}

/** A client that has sent one CONNECT, on stream 1. */
function client(options: EndOptions = {}): End {
  const end = new End('client', options)
  end.connection.receive(frameBytes(SETTINGS, 0, 0))
  end.connection.open([{ name: ':method', value: 'CONNECT' }])
  end.output()
  return end
}

type Said = readonly ['rst', number, number] | readonly ['goaway', number] | readonly []

/** What an end says to `bytes` that breaks off a stream or the connection. */
function said(end: End, ...bytes: Buffer[]): Said {
  end.connection.receive(Buffer.concat(bytes))
  for (const [kind, ...values] of end.frames()) {
    if (kind === 'rst') return ['rst', Number(values[0]), Number(values[1])]
    if (kind === 'goaway') return ['goaway', Number(values[1])]
  }
  return []
}

const goaway = (code: number): Said => ['goaway', code]
const rst = (stream: number, code: number): Said => ['rst', stream, code]
const E = ErrorCode

describe('a server, by RFC 9113', () => {
  test.each<[string, Buffer[], Said]>([
    ['5.1 idle: DATA', [data(1, 1)], goaway(E.PROTOCOL_ERROR)],
    ['5.1 idle: RST_STREAM', [reset(1, 8)], goaway(E.PROTOCOL_ERROR)],
    ['5.1 idle: WINDOW_UPDATE', [window(1, 100)], goaway(E.PROTOCOL_ERROR)],
    ['5.1 idle: PRIORITY is nothing', [frameBytes(PRIORITY, 0, 1, '0000000010')], []],
    [
      '5.1 half-closed (remote): DATA',
      [connect(1, END_HEADERS | END_STREAM), data(1, 1)],
      rst(1, E.STREAM_CLOSED),
    ],
    [
      '5.1 half-closed (remote): HEADERS',
      [connect(1, END_HEADERS | END_STREAM), connect(1)],
      rst(1, E.STREAM_CLOSED),
    ],
    [
      '5.1 half-closed (remote): WINDOW_UPDATE is fine',
      [connect(1, END_HEADERS | END_STREAM), window(1, 1)],
      [],
    ],
    ['5.1 closed by their RST_STREAM: DATA is stale', [connect(1), reset(1, 8), data(1, 1)], []],
    ['5.1 closed by their RST_STREAM: WINDOW_UPDATE', [connect(1), reset(1, 8), window(1, 9)], []],
    ['5.1.1 a stream id that is even', [connect(2)], goaway(E.PROTOCOL_ERROR)],
    ['5.1.1 a stream id that goes back', [connect(5), connect(3)], goaway(E.STREAM_CLOSED)],
    ['6.4 RST_STREAM for the connection', [reset(0, 8)], goaway(E.PROTOCOL_ERROR)],
    ['6.5.3 a SETTINGS ack that nobody waits for', [frameBytes(SETTINGS, ACK, 0)], []],
    [
      '6.5.2 INITIAL_WINDOW_SIZE beyond 2^31-1',
      [frameBytes(SETTINGS, 0, 0, '0004ffffffff')],
      goaway(E.FLOW_CONTROL_ERROR),
    ],
    ['6.9 an increment of 0', [connect(1), window(1, 0)], rst(1, E.PROTOCOL_ERROR)],
    [
      '6.9.1 the connection window beyond 2^31-1',
      [window(0, 0x7fffffff)],
      goaway(E.FLOW_CONTROL_ERROR),
    ],
    [
      '6.9.1 the window of a stream beyond 2^31-1',
      [connect(1), window(1, 0x7fffffff)],
      rst(1, E.FLOW_CONTROL_ERROR),
    ],
    [
      '6.9.2 a window that SETTINGS take beyond 2^31-1',
      [connect(1), window(1, 0x7fff0000), frameBytes(SETTINGS, 0, 0, '00047fffffff')],
      goaway(E.FLOW_CONTROL_ERROR),
    ],
    ['8.5 HEADERS in a tunnel', [connect(1), connect(1)], rst(1, E.PROTOCOL_ERROR)],
    [
      '8.5 trailers in a tunnel',
      [connect(1), connect(1, END_HEADERS | END_STREAM)],
      rst(1, E.PROTOCOL_ERROR),
    ],
    [
      '4.3 a broken header block',
      [frameBytes(HEADERS, END_HEADERS, 1, 'ffffffffff')],
      goaway(E.COMPRESSION_ERROR),
    ],
  ])('%s', (_name, bytes, expected) => {
    expect(said(server(), ...bytes)).toEqual(expected)
  })

  test.each<[string, [string, string][]]>([
    [
      '8.2.1 an upper-case name',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        ['Up', 'y'],
      ],
    ],
    [
      '8.2.1 a line feed in a value',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        ['a', 'b\nc'],
      ],
    ],
    [
      '8.2.1 space around a value',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        ['a', ' b'],
      ],
    ],
    [
      '8.2.2 connection',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        ['connection', 'close'],
      ],
    ],
    [
      '8.2.2 te: gzip',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        ['te', 'gzip'],
      ],
    ],
    [
      '8.3 an unknown pseudo header',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        [':x', 'y'],
      ],
    ],
    [
      '8.3 a pseudo header of answers',
      [
        [':method', 'CONNECT'],
        [':authority', 'x'],
        [':status', '200'],
      ],
    ],
    [
      '8.3 a pseudo header after others',
      [
        [':method', 'CONNECT'],
        ['a', 'b'],
        [':authority', 'x:1'],
      ],
    ],
    [
      '8.3.1 a second :method',
      [
        [':method', 'CONNECT'],
        [':method', 'CONNECT'],
        [':authority', 'x'],
      ],
    ],
    ['8.3.1 no :method', [[':authority', 'x:1']]],
    [
      '8.3.1 GET without :path',
      [
        [':method', 'GET'],
        [':scheme', 'https'],
        [':authority', 'x'],
      ],
    ],
    [
      '8.3.1 GET with an empty :path',
      [
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', ''],
      ],
    ],
    [
      '8.5 CONNECT with :path',
      [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
        [':path', '/'],
      ],
    ],
    [
      '8.5 CONNECT with :scheme',
      [
        [':method', 'CONNECT'],
        [':authority', 'x'],
        [':scheme', 'https'],
      ],
    ],
    ['8.5 CONNECT without :authority', [[':method', 'CONNECT']]],
    [
      'RFC 8441 :protocol',
      [
        [':method', 'CONNECT'],
        [':authority', 'x'],
        [':protocol', 'websocket'],
      ],
    ],
  ])('%s: that stream is reset, the next one served', (_name, fields) => {
    const end = server()
    const bad = frameBytes(HEADERS, END_HEADERS, 1, block(...fields))
    expect(said(end, bad)).toEqual(rst(1, E.PROTOCOL_ERROR))
    expect(end.requests).toHaveLength(0)
    expect(said(end, connect(3))).toEqual([])
    expect(end.requests).toHaveLength(1)
  })

  test('5.1 closed both ways: DATA is an error of the connection', () => {
    const end = server()
    end.connection.receive(connect(1, END_HEADERS | END_STREAM))
    end.requests[0]?.stream.end()
    end.output()
    expect(end.connection.streams.size).toBe(0)
    expect(said(end, data(1, 1))).toEqual(goaway(E.STREAM_CLOSED))
  })

  test('5.1 closed by our reset: what was under way is ignored, and counts for the connection', () => {
    const end = server()
    end.connection.receive(connect(1))
    end.requests[0]?.stream.cut(new Error('boom'))
    end.output()
    const chunk = Buffer.alloc(1024 * 1024)
    const head = frameBytes(DATA, 0, 1)
    head.writeUIntBE(chunk.length, 0, 3)
    for (let count = 0; count < 40; count++) {
      end.connection.receive(Buffer.concat([head, chunk]))
      expect(end.frames().map(([kind]) => kind)).not.toContain('goaway')
    }
    expect(end.memory.used).toBe(0)
  })

  test('5.1.2 more streams than allowed are refused, and not seen', () => {
    const end = server({ limits: { maxStreams: 1 } })
    end.connection.receive(connect(1))
    expect(said(end, connect(3))).toEqual(rst(3, E.REFUSED_STREAM))
    expect(end.requests).toHaveLength(1)
  })

  test('6.5.2 headers beyond the limit are refused, and the table stays in step', () => {
    const end = server({ limits: { maxHeaderListBytes: 1_000 } })
    const fields = Array.from({ length: 20 }, (_, index): [string, string] => [
      `n${index}`,
      'x'.repeat(50),
    ])
    const large = frameBytes(HEADERS, END_HEADERS, 1, CONNECT + block(...fields))
    expect(said(end, large)).toEqual(rst(1, E.ENHANCE_YOUR_CALM))
    expect(said(end, connect(3))).toEqual([])
    expect(end.requests).toHaveLength(1)
  })

  test('6.7 answers PING with its bytes', () => {
    const end = server()
    end.connection.receive(frameBytes(PING, 0, 0, '0102030405060708'))
    expect(end.frames().find(([kind]) => kind.startsWith('ping'))).toContain(0x01020304)
  })

  test('6.8 GOAWAY names the last stream; later ones are ignored, earlier ones go on', () => {
    const end = server()
    end.connection.receive(connect(1))
    end.connection.goAway(E.NO_ERROR)
    const told = end.frames().find(([kind]) => kind === 'goaway')
    expect(told?.slice(0, 3)).toEqual(['goaway', 1, E.NO_ERROR])
    expect(said(end, connect(3), data(3, 5), window(3, 10))).toEqual([])
    expect(end.requests).toHaveLength(1)
    const reader = new Collector()
    end.requests[0]?.stream.attach(reader)
    end.requests[0]?.stream.resume()
    end.connection.receive(data(1, 7, END_STREAM))
    expect([reader.bytes, reader.isEnded]).toEqual([7, true])
  })

  test.each<[string, number]>([
    ['the window of the stream', 300 * 1024],
    ['the window of the connection', 17 * 1024 * 1024],
  ])('6.9.1 DATA beyond %s', (name, bytes) => {
    const end = server({
      limits: {
        maxFrameBytes: 2 ** 24 - 1,
        ...(name.endsWith('connection') && { connectionWindowBytes: 70_000 }),
      },
    })
    end.connection.receive(connect(1))
    const head = frameBytes(DATA, 0, 1)
    head.writeUIntBE(Math.min(bytes, 2 ** 24 - 1), 0, 3)
    const expected = name.endsWith('connection')
      ? goaway(E.FLOW_CONTROL_ERROR)
      : rst(1, E.FLOW_CONTROL_ERROR)
    expect(said(end, head)).toEqual(expected)
  })
})

describe('a client, by RFC 9113', () => {
  const answer = (stream: number, hex: string, flags: number = END_HEADERS): Buffer =>
    frameBytes(HEADERS, flags, stream, hex)
  test.each<[string, Buffer[], Said]>([
    ['8.1 DATA before the answer', [data(1, 1)], rst(1, E.PROTOCOL_ERROR)],
    ['8.3.2 no :status', [answer(1, block(['a', 'b']))], rst(1, E.PROTOCOL_ERROR)],
    ['8.3.2 a bad :status', [answer(1, block([':status', '2']))], rst(1, E.PROTOCOL_ERROR)],
    ['8.6 status 101', [answer(1, block([':status', '101']))], rst(1, E.PROTOCOL_ERROR)],
    [
      '8.1 1xx with END_STREAM',
      [answer(1, block([':status', '100']), END_HEADERS | END_STREAM)],
      rst(1, E.PROTOCOL_ERROR),
    ],
    ['8.1 1xx, then the answer', [answer(1, block([':status', '103'])), answer(1, OK)], []],
    [
      '8.1 endless 1xx',
      Array.from({ length: 17 }, () => answer(1, block([':status', '100']))),
      rst(1, E.PROTOCOL_ERROR),
    ],
    ['8.5 a second answer', [answer(1, OK), answer(1, OK)], rst(1, E.PROTOCOL_ERROR)],
    ['5.1 HEADERS on an idle stream', [answer(3, OK)], goaway(E.PROTOCOL_ERROR)],
    ['5.1.1 a stream of the server', [answer(2, OK)], goaway(E.PROTOCOL_ERROR)],
    [
      '6.5.2 a server that enables push',
      [frameBytes(SETTINGS, 0, 0, '000200000001')],
      goaway(E.PROTOCOL_ERROR),
    ],
    [
      '6.8 GOAWAY that goes up',
      [frameBytes(GOAWAY, 0, 0, u32(1) + u32(0)), frameBytes(GOAWAY, 0, 0, u32(3) + u32(0))],
      goaway(E.PROTOCOL_ERROR),
    ],
  ])('%s', (_name, bytes, expected) => {
    expect(said(client(), ...bytes)).toEqual(expected)
  })

  test('6.8 GOAWAY refuses what the server has not seen', () => {
    const end = client()
    end.connection.open([{ name: ':method', value: 'CONNECT' }])
    const [first, second] = [...end.connection.streams.values()]
    end.connection.receive(frameBytes(GOAWAY, 0, 0, u32(1) + u32(E.NO_ERROR)))
    expect(first?.failure).toBeUndefined()
    expect(second?.failure?.code).toBe('HBONE_REFUSED_STREAM')
    expect(end.goaways).toEqual([E.NO_ERROR])
  })

  test('6.9.2 a window that shrinks below zero is waited for', () => {
    const end = client()
    const stream = end.connection.streams.get(1)
    end.connection.receive(answer(1, OK))
    stream?.write(Buffer.alloc(65_535))
    expect(end.frames().filter(([kind]) => kind === 'data')).not.toHaveLength(0)
    end.connection.receive(frameBytes(SETTINGS, 0, 0, `0004${u32(1_000)}`))
    stream?.write(Buffer.from('x'))
    end.connection.receive(window(0, 100_000))
    const sent = (): number => end.frames().filter(([kind]) => kind === 'data').length
    expect(sent()).toBe(0)
    end.connection.receive(window(1, 64_535))
    expect(sent()).toBe(0)
    end.connection.receive(window(1, 1))
    expect(sent()).toBe(1)
  })
})

describe('abuse', () => {
  const many = (frame: Buffer, count: number): Buffer =>
    Buffer.concat(Array.from({ length: count }, () => frame))
  test.each<[string, Buffer, number]>([
    ['SETTINGS', frameBytes(SETTINGS, 0, 0), 101],
    ['PING', frameBytes(PING, 0, 0, '0000000000000000'), 1_001],
    ['PRIORITY', frameBytes(PRIORITY, 0, 1, '0000000010'), 1_001],
    ['empty DATA', frameBytes(DATA, 0, 1), 1_001],
    ['WINDOW_UPDATE', window(0, 1), 50_001],
    ['unknown frames', frameBytes(0x55, 0, 0), 1_001],
  ])('a flood of %s ends the connection; a burst does not', (_name, frame, limit) => {
    const end = server()
    end.connection.receive(connect(1))
    end.output()
    expect(said(end, many(frame, limit - 1))).toEqual([])
    expect(said(end, frame)).toEqual(goaway(E.ENHANCE_YOUR_CALM))
    expect(Math.max(...end.connection.floods.counts.values())).toBe(limit)
  })

  test('streams that are opened and reset, by either side, end the connection', () => {
    const end = server()
    for (let id = 1; id < 20_000; id += 2) {
      end.connection.receive(connect(id))
      end.connection.receive(reset(id, E.CANCEL))
      end.output()
    }
    expect(end.errors).toEqual([])
    expect(said(end, connect(20_001), reset(20_001, E.CANCEL))).toEqual(goaway(E.ENHANCE_YOUR_CALM))
    const other = server()
    let last: Said = []
    for (let id = 1; id <= 20_001; id += 2) last = said(other, connect(id), window(id, 0))
    expect(last).toEqual(goaway(E.ENHANCE_YOUR_CALM))
  })

  test('what is slow enough may go on for ever', () => {
    let now = 0
    const end = server({ now: () => now })
    for (let count = 0; count < 3_000; count++) {
      now += 10
      end.connection.receive(frameBytes(PING, 0, 0, '0000000000000000'))
      end.output()
    }
    expect(end.errors).toEqual([])
  })

  test('a peer that asks and does not read ends the connection', () => {
    const end = server()
    let said = 0
    for (let count = 0; count < 200_000 && end.errors.length === 0; count++) {
      // Each refused request costs it little and us an answer.
      end.connection.receive(many(frameBytes(PING, 0, 0, '0000000000000000'), 100))
      said += 100
    }
    expect(end.errors[0]?.code).toBe(E.ENHANCE_YOUR_CALM)
    expect(end.connection.outbox.staged).toBeLessThan(2 * 1024 * 1024)
    expect(said).toBeLessThan(200_000)
  })
})

describe('flow control', () => {
  test('a stream that nobody reads holds its window, and nobody else up', () => {
    const pair = joined()
    const stalled = Array.from({ length: 150 }, () => pair.open())
    for (const { client: stream } of stalled) stream.write(Buffer.alloc(1024 * 1024))
    exchange(pair.client, pair.server)
    expect(pair.server.memory.used).toBeGreaterThan(150 * 256 * 1024 * 0.99)
    expect(pair.server.memory.used).toBeLessThan(150 * 320 * 1024)
    const lively = Array.from({ length: 50 }, () => pair.open())
    for (const { client: one, server: other } of lively) {
      const reader = new Collector()
      other.attach(reader)
      other.resume()
      one.write(Buffer.alloc(5_000_000))
      exchange(pair.client, pair.server)
      expect(reader.bytes).toBe(5_000_000)
    }
    expect(pair.client.errors.concat(pair.server.errors)).toEqual([])
    for (const { client: stream } of stalled) stream.cut(new Error('enough'))
    exchange(pair.client, pair.server)
    expect([pair.client.memory.used, pair.server.memory.used]).toEqual([0, 0])
  })

  test('with 150 stalled readers, 50 others keep 90 % of their rate', () => {
    /** Turns of the connection until 50 streams have moved 1 MB each, beside `stalled` that nobody reads. */
    const turns = (stalled: number): number => {
      const pair = joined()
      for (let count = 0; count < stalled; count++) {
        pair.open().client.write(Buffer.alloc(1024 * 1024))
      }
      exchange(pair.client, pair.server)
      const readers = Array.from({ length: 50 }, () => {
        const { client: one, server: other } = pair.open()
        const reader = new Collector()
        other.attach(reader)
        other.resume()
        one.write(Buffer.alloc(1_000_000))
        return reader
      })
      let count = 0
      for (; readers.some(({ bytes }) => bytes < 1_000_000) && count < 10_000; count++) {
        const { outbox } = pair.client.connection
        pair.server.connection.receive(Buffer.from(outbox.take() ?? []))
        outbox.taken()
        pair.client.connection.receive(pair.server.output())
      }
      return count
    }
    expect(turns(150)).toBeLessThanOrEqual(turns(0) / 0.9)
  })

  test('the window of a stream that is read grows, and goes back when its reader stops', () => {
    const pair = joined()
    const { client: one, server: other } = pair.open()
    const reader = new Collector()
    other.attach(reader)
    other.resume()
    one.write(Buffer.alloc(64_000_000))
    exchange(pair.client, pair.server)
    expect(reader.bytes).toBe(64_000_000)
    expect(other.window.target).toBe(4 * 1024 * 1024)
    other.pause()
    one.write(Buffer.alloc(16_000_000))
    exchange(pair.client, pair.server)
    expect(other.window.target).toBe(256 * 1024)
    expect(pair.server.memory.used).toBeLessThanOrEqual(4.2 * 1024 * 1024)
    // What had been allowed before is read once, and then it is the small window again.
    reader.data = (chunk) => {
      reader.bytes += chunk.length
      if (reader.bytes > 66_000_000) other.pause()
    }
    other.resume()
    exchange(pair.client, pair.server)
    expect(pair.server.memory.used).toBeLessThanOrEqual(4.2 * 1024 * 1024)
    other.cut(new Error('enough'))
    exchange(pair.client, pair.server)
    expect(pair.server.memory.used).toBe(0)
  })

  test('bytes for which there is no memory reset their stream, and only that one', () => {
    const pair = joined({}, { memory: new MemoryAccount(400 * 1024) })
    const first = pair.open()
    const second = pair.open()
    const reader = new Collector()
    second.server.attach(reader)
    second.server.resume()
    first.client.write(Buffer.alloc(250 * 1024))
    exchange(pair.client, pair.server)
    const third = pair.open()
    third.client.write(Buffer.alloc(250 * 1024))
    second.client.write(Buffer.alloc(1_000_000))
    exchange(pair.client, pair.server)
    expect(third.client.failure?.message).toContain('ENHANCE_YOUR_CALM')
    expect([first.client.failure, second.client.failure]).toEqual([undefined, undefined])
    expect(reader.bytes).toBe(1_000_000)
  })

  test('a writer is told to wait, and told of room', () => {
    const pair = joined()
    const { client: one, server: other } = pair.open()
    const writer = new Collector()
    one.attach(writer)
    let written = 0
    while (one.write(Buffer.alloc(64 * 1024))) written += 64 * 1024
    expect(written).toBeLessThan(1024 * 1024)
    exchange(pair.client, pair.server)
    const reader = new Collector()
    other.attach(reader)
    other.resume()
    exchange(pair.client, pair.server)
    expect(writer.rooms).toBe(1)
    expect(reader.bytes).toBe(written + 64 * 1024)
  })

  test('streams with much to say take turns with those that have little', () => {
    const pair = joined()
    const bulk = pair.open()
    const small = pair.open()
    bulk.client.write(Buffer.alloc(1_000_000))
    small.client.write(Buffer.from('hello'))
    const batch = pair.client.connection.outbox.take()
    expect(Buffer.from(batch ?? []).includes('hello')).toBe(true)
  })
})
