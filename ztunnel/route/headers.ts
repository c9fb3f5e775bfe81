import type { Workload } from '../../shared/mesh/model.ts'

/** Longer values are not looked at: nobody of the mesh sends them. */
const LONGEST_HEADER = 8_192

/**
 * `forwarded` as ztunnel writes it (ztunnel spec 1.5; a subset of RFC 7239): the client as `ip:port`, and the
 * hostname of the service that was addressed. A name that would break out of the header is left out.
 */
export function formatForwarded(client: string, hostname: string | undefined): string {
  const host = hostname !== undefined && /^[\w.*-]+$/.test(hostname) ? `;host=${hostname}` : ''
  return `for="${client}"${host}`
}

/** The first `host` of a `forwarded` header; undefined if there is none that is ASCII and not empty. */
export function parseForwardedHost(header: string | undefined): string | undefined {
  if (header === undefined || header.length > LONGEST_HEADER || !isAscii(header)) return undefined
  const pair = header.split(';').find((part) => part.trimStart().startsWith('host='))
  const host = pair?.trim().slice('host='.length).replaceAll('"', '')
  return host === '' ? undefined : host
}

/** What a peer says about itself; for telemetry only, never for decisions. */
export interface Baggage {
  readonly clusterId: string | undefined
  readonly namespace: string | undefined
  readonly workloadType: Workload['workloadType'] | undefined
  readonly workloadName: string | undefined
  readonly canonicalName: string | undefined
  readonly canonicalRevision: string | undefined
  readonly region: string | undefined
  readonly zone: string | undefined
}

/** Ztunnel spec 1.7. Values that cannot be written without encoding are left out, as empty ones are. */
export function formatBaggage(workload: Workload): string {
  const pairs: [string, string][] = [
    ['k8s.cluster.name', workload.clusterId],
    ['k8s.namespace.name', workload.namespace],
    [`k8s.${workload.workloadType}.name`, workload.workloadName],
    ['service.name', workload.canonicalName],
    ['service.version', workload.canonicalRevision],
    ['cloud.region', workload.locality.region],
    ['cloud.availability_zone', workload.locality.zone],
  ]
  return pairs
    .filter(([, value]) => /^[!#-+\--:<>-[\]-~]+$/.test(value))
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}

/** Never fails: what it does not know it skips. Several header lines come joined by commas. */
export function parseBaggage(header: string | undefined): Baggage {
  const values = new Map<string, string>()
  if (header !== undefined && header.length <= LONGEST_HEADER) {
    for (const pair of header.split(',')) {
      const [key, value] = pair.split('=')
      if (key !== undefined && value) values.set(key.trim(), value.trim())
    }
  }
  const type = WORKLOAD_TYPES.find((one) => values.has(`k8s.${one}.name`))
  return {
    clusterId: values.get('k8s.cluster.name'),
    namespace: values.get('k8s.namespace.name'),
    workloadType: type,
    workloadName: type && values.get(`k8s.${type}.name`),
    canonicalName: values.get('service.name'),
    canonicalRevision: values.get('service.version'),
    region: values.get('cloud.region'),
    zone: values.get('cloud.availability_zone'),
  }
}

const WORKLOAD_TYPES = ['deployment', 'cronjob', 'pod', 'job'] as const

export interface Traceparent {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string
  /** 16 of them. */
  readonly parentId: string
}

/** W3C trace context, version 00, not sampled, as ztunnel sends it. `random` has at least 24 bytes. */
export function createTraceparent(random: Uint8Array): Traceparent {
  const hex = (from: number, to: number): string => {
    let text = ''
    for (let at = from; at < to; at++) text += (random[at] ?? 0).toString(16).padStart(2, '0')
    // All zeros would mean that there is no trace.
    return /[^0]/.test(text) ? text : `${text.slice(1)}1`
  }
  return { traceId: hex(0, 16), parentId: hex(16, 24) }
}

export const formatTraceparent = ({ traceId, parentId }: Traceparent): string =>
  `00-${traceId}-${parentId}-00`

/** Undefined for anything that is not a version 00 header of the W3C recommendation. */
export function parseTraceparent(header: string | undefined): Traceparent | undefined {
  const found = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(header ?? '')
  const [, traceId, parentId] = found ?? []
  if (traceId === undefined || parentId === undefined) return undefined
  return /[^0]/.test(traceId) && /[^0]/.test(parentId) ? { traceId, parentId } : undefined
}

/** Printable ASCII, and tabs as RFC 9110 allows them. */
const isAscii = (text: string): boolean => /^[\t\x20-\x7e]*$/.test(text)
