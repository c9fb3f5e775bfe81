/** A header field; both strings hold octets, one a character (latin1). */
export interface HeaderField {
  readonly name: string
  readonly value: string
  /** To be kept out of every table, here and by whoever passes it on (RFC 7541 section 7.1.3). */
  readonly secret?: true
}

/** The static table (RFC 7541 appendix A); index 1 is the first line. */
const LINES = `
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`

export const STATIC_FIELDS: readonly HeaderField[] = LINES.trim()
  .split('\n')
  .map((line) => {
    const space = line.indexOf(' ')
    if (space < 0) return { name: line, value: '' }
    return { name: line.slice(0, space), value: line.slice(space + 1) }
  })

/** What the encoder can point at: the first entry of a name, and the entries that have a value too. */
export interface StaticName {
  readonly index: number
  readonly values: ReadonlyMap<string, number>
}

export const STATIC_NAMES: ReadonlyMap<string, StaticName> = staticNames()

function staticNames(): ReadonlyMap<string, StaticName> {
  const names = new Map<string, { index: number; values: Map<string, number> }>()
  STATIC_FIELDS.forEach(({ name, value }, at) => {
    const known = names.get(name) ?? { index: at + 1, values: new Map<string, number>() }
    if (value !== '') known.values.set(value, at + 1)
    names.set(name, known)
  })
  return names
}
