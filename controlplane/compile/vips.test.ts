import { expect, test } from 'vitest'
import { IP_FAMILIES, VipAllocator } from './vips.ts'

const allocator = (initial: { service: string; address: string }[] = [], v4 = '240.240.0.0/16') =>
  new VipAllocator(v4, '2001:2::/48', initial)

test('a service has the same addresses in every process', () => {
  const [one, two] = [allocator(), allocator()]
  one.ensure('shop/a', IP_FAMILIES)
  two.ensure('shop/b', IP_FAMILIES)
  two.ensure('shop/a', IP_FAMILIES)
  expect(one.find('shop/a', 'IPv4')).toMatch(/^240\.240\./)
  expect(one.find('shop/a', 'IPv6')).toMatch(/^2001:2::?/)
  for (const family of IP_FAMILIES) {
    expect(two.find('shop/a', family)).toBe(one.find('shop/a', family))
  }
})

test('colliding services get different addresses and keep them', () => {
  const small = allocator([], '10.0.0.0/28')
  const services = Array.from({ length: 14 }, (_, index) => `shop/s${index}`)
  for (const service of services) expect(small.ensure(service, ['IPv4'])).toBe(true)
  const given = services.map((service) => small.find(service, 'IPv4'))
  expect(new Set(given).size).toBe(14)
  expect(given).not.toContain('10.0.0.0')
  expect(given).not.toContain('10.0.0.15')
  expect(small.ensure('shop/one-more', ['IPv4'])).toBe(false)
  const again = allocator([...small.assignments()], '10.0.0.0/28')
  for (const service of services.toReversed()) again.ensure(service, ['IPv4'])
  expect(services.map((service) => again.find(service, 'IPv4'))).toEqual(given)
})

test('an address is remembered for the return of its service, but gives way in a full range', () => {
  const small = allocator([], '10.0.0.0/28')
  for (let index = 0; index < 14; index++) small.ensure(`shop/s${index}`, ['IPv4'])
  const kept = small.find('shop/s3', 'IPv4')
  small.release('shop/s3')
  expect(small.find('shop/s3', 'IPv4')).toBeUndefined()
  small.ensure('shop/s3', ['IPv4'])
  expect(small.find('shop/s3', 'IPv4')).toBe(kept)
  small.release('shop/s3')
  expect(small.ensure('shop/new', ['IPv4'])).toBe(true)
  expect(small.find('shop/new', 'IPv4')).toBe(kept)
})

test('an address that an object names itself is nobody else’s', () => {
  const one = allocator()
  one.ensure('shop/a', ['IPv4'])
  const address = one.find('shop/a', 'IPv4') ?? ''
  expect(one.reserve(address)).toBe('shop/a')
  one.ensure('shop/a', ['IPv4'])
  expect(one.find('shop/a', 'IPv4')).not.toBe(address)
})

test('assignments outside the ranges, or used twice, are forgotten', () => {
  const one = allocator([
    { service: 'shop/a', address: '10.0.0.1' },
    { service: 'shop/b', address: '240.240.0.7' },
    { service: 'shop/c', address: '240.240.0.7' },
    { service: 'shop/d', address: 'nonsense' },
  ])
  expect(one.assignments()).toEqual([{ service: 'shop/b', address: '240.240.0.7' }])
})

test.for(['10.0.0.0', '10.0.0.0/31', '::/64', 'x'])('refuses the range %s', (range) => {
  expect(() => allocator([], range)).toThrow(/CIDR|too small/)
})
