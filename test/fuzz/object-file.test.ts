import fc from 'fast-check'
import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { parseObject } from '../../controlplane/kinds/registry.ts'
import { parseObjectFile } from '../../controlplane/source/object-file.ts'

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop, labels: { a: b } }
spec:
  selector: { matchLabels: { app: web } }
  rules:
  - from: [{ source: { principals: ["td/ns/a/sa/b"], ipBlocks: [10.0.0.0/8] } }]
    to: [{ operation: { ports: ["80"] } }]
    when: [{ key: source.ip, values: [10.0.0.1] }]
`

const file = fc.constantFrom('a.yaml', 'a.json')

/** Text with a piece cut out, doubled, or replaced. */
const damaged = fc
  .tuple(fc.nat(POLICY.length), fc.nat(40), fc.string({ unit: 'binary', maxLength: 10 }))
  .map(([at, length, instead]) => POLICY.slice(0, at) + instead + POLICY.slice(at + length))

test('whatever a file says, reading it ends with objects and problems, never with a throw', () => {
  fc.assert(
    fc.property(file, fc.oneof(damaged, fc.string({ unit: 'binary' })), (name, text) => {
      const { claims, problems, broken } = parseObjectFile(name, text)
      if (broken || claims.some(({ object }) => object === undefined)) {
        expect(problems.length).toBeGreaterThan(0)
      }
    }),
    { numRuns: 2_000 },
  )
})

const kinds = fc.constantFrom(
  ['v1', 'Pod'],
  ['v1', 'Service'],
  ['v1', 'Namespace'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['networking.istio.io/v1', 'ServiceEntry'],
  ['networking.istio.io/v1', 'WorkloadEntry'],
  ['security.istio.io/v1', 'AuthorizationPolicy'],
  ['security.istio.io/v1', 'PeerAuthentication'],
)

test('whatever values an object has, it is an object, or invalid for a named reason', () => {
  const anything = fc.anything({ maxDepth: 4 })
  fc.assert(
    fc.property(
      kinds,
      anything,
      anything,
      anything,
      ([apiVersion, kind], metadata, spec, status) => {
        const parsed = parseObject({ apiVersion, kind, metadata, spec, status })
        expect(parsed.outcome === 'object' || parsed.outcome === 'invalid').toBe(true)
        if (parsed.outcome === 'invalid') expect(parsed.faults.length).toBeGreaterThan(0)
      },
    ),
    { numRuns: 2_000 },
  )
})

test('an object printed again reads as the same object', () => {
  const labels = fc.dictionary(fc.string({ minLength: 1 }), fc.string(), { maxKeys: 4 })
  fc.assert(
    fc.property(labels, labels, (labels, annotations) => {
      const object = {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'x', labels, annotations },
      }
      const { claims } = parseObjectFile('a.yaml', stringify(object))
      const [direct] = parseObjectFile('a.json', JSON.stringify(object)).claims
      expect(claims[0]?.object).toEqual(direct?.object)
    }),
  )
})
