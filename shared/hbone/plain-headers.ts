import type { IncomingHttpHeaders } from 'node:http2'

/** The headers without pseudo headers, as `ConnectRequest` and `OpenedTunnel` show them. */
export function plainHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const plain: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(':')) continue
    plain[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return plain
}
