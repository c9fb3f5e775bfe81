import { describe, expect, test } from 'vitest'
import { Authorization } from '../proto/generated/authorization.ts'
import { parseAuthorization } from './convert.ts'

type Given = Parameters<typeof Authorization.fromPartial>[0]
type GivenMatch = NonNullable<
  NonNullable<NonNullable<NonNullable<Given['groups']>[number]['rules']>[number]>['matches']
>[number]

const parse = (given: Given, resourceName = 'ns/policy') =>
  parseAuthorization(
    resourceName,
    Authorization.encode(
      Authorization.fromPartial({ name: 'policy', namespace: 'ns', ...given }),
    ).finish(),
  )
const parseMatch = (match: GivenMatch) => parse({ groups: [{ rules: [{ matches: [match] }] }] })
const bytes = (...values: number[]) => Buffer.from(values)

describe('parseAuthorization', () => {
  test('reads every field', () => {
    const result = parse({
      scope: 2,
      action: 1,
      dryRun: true,
      groups: [
        {
          rules: [
            {
              matches: [
                {
                  namespaces: [{ matchType: { $case: 'exact', value: 'a' } }],
                  notNamespaces: [{ matchType: { $case: 'prefix', value: 'b' } }],
                  principals: [{ matchType: { $case: 'suffix', value: 'c' } }],
                  notPrincipals: [{ matchType: { $case: 'presence', value: {} } }],
                  serviceAccounts: [{ namespace: 'd', serviceAccount: 'e' }],
                  notServiceAccounts: [{ namespace: 'f', serviceAccount: 'g' }],
                  sourceIps: [{ address: bytes(10, 0, 0, 0), length: 8 }],
                  notSourceIps: [{ address: Buffer.alloc(16), length: 0 }],
                  destinationIps: [{ address: bytes(10, 0, 0, 1), length: 32 }],
                  notDestinationIps: [{ address: bytes(10, 0, 0, 2), length: 32 }],
                  destinationPorts: [1, 65_535],
                  notDestinationPorts: [2],
                },
              ],
            },
            { matches: [] },
          ],
        },
        { rules: [] },
      ],
    })
    expect(result).toEqual({
      kind: 'policy',
      policy: {
        key: 'ns/policy',
        name: 'policy',
        namespace: 'ns',
        scope: 'WORKLOAD_SELECTOR',
        action: 'DENY',
        dryRun: true,
        rules: [
          [
            [
              {
                namespaces: [{ kind: 'exact', value: 'a' }],
                notNamespaces: [{ kind: 'prefix', value: 'b' }],
                principals: [{ kind: 'suffix', value: 'c' }],
                notPrincipals: [{ kind: 'presence' }],
                serviceAccounts: [{ namespace: 'd', serviceAccount: 'e' }],
                notServiceAccounts: [{ namespace: 'f', serviceAccount: 'g' }],
                sourceIps: [{ address: new Uint8Array([10, 0, 0, 0]), length: 8 }],
                notSourceIps: [{ address: new Uint8Array(16), length: 0 }],
                destinationIps: [{ address: new Uint8Array([10, 0, 0, 1]), length: 32 }],
                notDestinationIps: [{ address: new Uint8Array([10, 0, 0, 2]), length: 32 }],
                destinationPorts: [1, 65_535],
                notDestinationPorts: [2],
              },
            ],
            [],
          ],
          [],
        ],
      },
    })
  })

  test('an IPv4-mapped range means the IPv4 one', () => {
    const mapped = Buffer.from([...Buffer.alloc(10), 0xff, 0xff, 10, 0, 0, 0])
    const result = parseMatch({ sourceIps: [{ address: mapped, length: 104 }] })
    if (result.kind !== 'policy') throw new Error(result.errors.join())
    expect(result.policy.rules[0]?.[0]?.[0]?.sourceIps).toEqual([
      { address: new Uint8Array([10, 0, 0, 0]), length: 8 },
    ])
  })

  const at = 'groups[0].rules[0].matches[0]'
  const refused: [string, ReturnType<typeof parse>, string][] = [
    ['unknown scope', parse({ scope: 9 as 0 }), 'scope: unknown value 9'],
    ['unknown action', parse({ action: 5 as 0 }), 'action: unknown value 5'],
    ['negative enum value', parse({ action: -1 }), 'action: unknown value -1'],
    ['another name', parse({}, 'ns/other'), 'name: the policy calls itself "ns/policy"'],
    [
      'a namespace policy without namespace',
      parse({ scope: 1, namespace: '' }, '/policy'),
      'namespace: empty',
    ],
    [
      'string match without type',
      parseMatch({ principals: [{}] }),
      `${at}.principals[0]: a string match without a type`,
    ],
    [
      'CIDR of 3 bytes',
      parseMatch({ sourceIps: [{ address: bytes(1, 2, 3), length: 8 }] }),
      `${at}.source_ips[0]: an address of 3 bytes`,
    ],
    [
      'CIDR without address',
      parseMatch({ notDestinationIps: [{ length: 8 }] }),
      `${at}.not_destination_ips[0]: an address of 0 bytes`,
    ],
    [
      'IPv4 prefix above 32',
      parseMatch({ sourceIps: [{ address: bytes(1, 2, 3, 4), length: 33 }] }),
      `${at}.source_ips[0]: a prefix of 33 bits`,
    ],
    [
      'IPv6 prefix above 128',
      parseMatch({ sourceIps: [{ address: Buffer.alloc(16), length: 129 }] }),
      `${at}.source_ips[0]: a prefix of 129 bits`,
    ],
    [
      'port above 65535',
      parseMatch({ destinationPorts: [65_616] }),
      `${at}.destination_ports: no port: 65616`,
    ],
    [
      'a condition of a kind we do not know',
      parseMatch({ destinationPorts: [1], extensions: [{ name: 'x' }] }),
      `${at}.extensions: not supported`,
    ],
  ]
  test.for(refused)('refuses: %s', ([, result, error]) => {
    expect(result).toMatchObject({ kind: 'rejected', errors: [error] })
  })

  test('names all faults of a policy, up to a bound, and its scope', () => {
    const result = parse({
      scope: 1,
      groups: [{ rules: [{ matches: Array.from({ length: 50 }, () => ({ principals: [{}] })) }] }],
    })
    expect(result).toMatchObject({ kind: 'rejected', scope: 'NAMESPACE' })
    expect(result.kind === 'rejected' && result.errors.length).toBe(10)
  })

  test('refuses bytes that are no message, without a scope', () => {
    const result = parseAuthorization('ns/policy', Uint8Array.from([0x0a, 0xff, 0xff]))
    expect(result).toMatchObject({ kind: 'rejected', scope: undefined })
  })
})
