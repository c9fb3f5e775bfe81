import type { HeaderField } from './hpack-static.ts'

export interface RequestHead {
  readonly kind: 'request'
  readonly method: string
  readonly authority: string
  /** Without pseudo headers; what came twice is joined. */
  readonly headers: Readonly<Record<string, string>>
}

export interface ResponseHead {
  readonly kind: 'response'
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/** RFC 9113 section 8.1.1: the stream is reset with PROTOCOL_ERROR. */
export interface Malformed {
  readonly kind: 'malformed'
  /** Names the header and the rule. */
  readonly reason: string
}

/** A token of RFC 9110 section 5.6.2 without upper case (RFC 9113 section 8.2.1). */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
// NUL, CR and LF are never allowed, nor white space around the value (RFC 9113 section 8.2.1).
// oxlint-disable-next-line no-control-regex
const BAD_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const STATUS = /^[1-9][0-9]{2}$/
/** RFC 9113 section 8.2.2. */
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])
const REQUEST_PSEUDO: ReadonlySet<string> = new Set([
  ':method',
  ':scheme',
  ':authority',
  ':path',
  ':protocol',
])
const RESPONSE_PSEUDO: ReadonlySet<string> = new Set([':status'])

/** Checks a request by RFC 9113 sections 8.2, 8.3 and 8.5. Other methods than CONNECT are for others to refuse. */
export function parseRequest(fields: readonly HeaderField[]): RequestHead | Malformed {
  const read = readFields(fields, REQUEST_PSEUDO)
  if (read.kind === 'malformed') return read
  const { pseudo, headers } = read
  const method = pseudo.get(':method')
  const authority = pseudo.get(':authority')
  if (method === undefined || !METHOD.test(method)) return malformed(':method is missing or bad')
  const path = pseudo.get(':path')
  if (method === 'CONNECT' && !pseudo.has(':protocol')) {
    if (path !== undefined || pseudo.has(':scheme')) {
      return malformed('CONNECT with :path or :scheme')
    }
    if (authority === undefined || authority === '') return malformed('CONNECT without :authority')
  } else if (path === undefined || path === '' || !pseudo.has(':scheme')) {
    return malformed(`${method} without :path or :scheme`)
  }
  // Extended CONNECT (RFC 8441) was never offered here.
  if (pseudo.has(':protocol')) return malformed(':protocol was not negotiated')
  return { kind: 'request', method, authority: authority ?? '', headers }
}

/** Checks an answer by RFC 9113 sections 8.2 and 8.3.2. */
export function parseResponse(fields: readonly HeaderField[]): ResponseHead | Malformed {
  const read = readFields(fields, RESPONSE_PSEUDO)
  if (read.kind === 'malformed') return read
  const status = read.pseudo.get(':status')
  if (status === undefined || !STATUS.test(status)) return malformed(':status is missing or bad')
  // RFC 9113 section 8.6: there is no upgrade in HTTP/2.
  if (status === '101') return malformed('status 101')
  return { kind: 'response', status: Number(status), headers: read.headers }
}

type Read =
  | {
      readonly kind: 'read'
      readonly pseudo: ReadonlyMap<string, string>
      readonly headers: Record<string, string>
    }
  | Malformed

function readFields(fields: readonly HeaderField[], allowed: ReadonlySet<string>): Read {
  const pseudo = new Map<string, string>()
  // Names come from the peer: `__proto__` must be one like any other.
  const headers: Map<string, string> = new Map()
  for (const { name, value } of fields) {
    if (BAD_VALUE.test(value)) return malformed(`a bad value of ${printable(name)}`)
    if (name.startsWith(':')) {
      if (!allowed.has(name)) return malformed(`unknown ${printable(name)}`)
      if (pseudo.has(name)) return malformed(`a second ${name}`)
      if (headers.size > 0) return malformed(`${name} after other headers`)
      pseudo.set(name, value)
      continue
    }
    if (!NAME.test(name)) return malformed(`the header name ${printable(name)}`)
    if (CONNECTION_SPECIFIC.has(name) || (name === 'te' && value !== 'trailers')) {
      return malformed(`the connection-specific header ${name}`)
    }
    const before = headers.get(name)
    headers.set(
      name,
      before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`,
    )
  }
  return { kind: 'read', pseudo, headers: Object.fromEntries(headers) }
}

function malformed(reason: string): Malformed {
  return { kind: 'malformed', reason }
}

function printable(name: string): string {
  return JSON.stringify(name.slice(0, 64))
}
