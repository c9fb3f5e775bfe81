import type {
  Address,
  Match,
  ServiceAccountMatch,
  StringMatch,
} from '../../shared/proto/generated/authorization.ts'
import { parseIpBlock } from '../kinds/ip-block.ts'

export const emptyMatch = (): Match => ({
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  extensions: [],
})

/** A match without any field; data planes skip it, so it matches nothing. */
export const isEmptyMatch = (match: Match): boolean =>
  Object.values(match).every((values) => Array.isArray(values) && values.length === 0)

export const PRESENCE: StringMatch = { matchType: { $case: 'presence', value: {} } }

/** `*`, `*suffix`, `prefix*` or the whole text; a star elsewhere is itself. */
export function stringMatch(value: string): StringMatch | undefined {
  if (value === '') return undefined
  if (value === '*') return PRESENCE
  if (value.startsWith('*')) return { matchType: { $case: 'suffix', value: value.slice(1) } }
  if (value.endsWith('*')) return { matchType: { $case: 'prefix', value: value.slice(0, -1) } }
  return { matchType: { $case: 'exact', value } }
}

/**
 * A trust domain as a match on the whole principal, which begins with it. Its end cannot be expressed so, hence
 * undefined for `*suffix`.
 */
export function trustDomainMatch(value: string): StringMatch | undefined {
  if (value === '*') return PRESENCE
  if (value === '' || value.includes('/') || value.startsWith('*')) return undefined
  const prefix = value.endsWith('*') ? value.slice(0, -1) : `${value}/`
  return { matchType: { $case: 'prefix', value: prefix } }
}

export function addressMatch(value: string): Address | undefined {
  const block = parseIpBlock(value)
  if (block === undefined) return undefined
  return { address: Buffer.from(block.address), length: block.length }
}

export function portMatch(value: string): number | undefined {
  if (!/^\d{1,5}$/.test(value)) return undefined
  const port = Number(value)
  return port >= 1 && port <= 65_535 ? port : undefined
}

/** `namespace/account`, or an account of the policy's own namespace. */
export function serviceAccountMatch(
  value: string,
  namespace: string,
): ServiceAccountMatch | undefined {
  const [first, second, ...rest] = value.split('/')
  if (rest.length > 0 || !first || second === '' || value.includes('*')) return undefined
  return second === undefined
    ? { namespace, serviceAccount: first }
    : { namespace: first, serviceAccount: second }
}
