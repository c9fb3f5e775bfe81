import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FakeClock } from '../runtime/clock.ts'
import { AmbitError } from '../runtime/errors.ts'
import { silentLog } from '../runtime/log.ts'
import { CertificateManager } from './certificate-manager.ts'
import type { CertificateSource } from './certificate-source.ts'
import type { IdentityMaterial, IssuedCertificate } from './identity-material.ts'
import { TestingAuthority } from './testing-authority.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'
const idOf = (index: number): string => `spiffe://cluster.local/ns/shop/sa/app-${index}`
const never = new AbortController().signal
const SECOND = 1_000
const HOUR = 3_600 * SECOND
const DAY = 24 * HOUR

let clock: FakeClock
let authority: TestingAuthority
let manager: CertificateManager

const managerOn = (source: CertificateSource): CertificateManager =>
  new CertificateManager({ source, clock, log: silentLog, random: () => 0.5 })

beforeEach(() => {
  clock = new FakeClock(Date.UTC(2026, 5, 1))
  authority = new TestingAuthority({ now: () => clock.wallMs() })
  manager = managerOn(authority)
})
afterEach(() => manager[Symbol.asyncDispose]())

/** The next certificate of any identity, as listeners hear of it. */
const rotation = (): Promise<IdentityMaterial> =>
  new Promise((resolve) => {
    const stop = manager.onRotate((_identity, material) => {
      stop()
      resolve(material)
    })
  })

/** Lets every promise that can go on go on. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const failing = (message = 'away'): AmbitError => new AmbitError('CA_UNAVAILABLE', message)

describe('certificateFor', () => {
  test('issues once for all who wait, and then answers from memory', async () => {
    const waits = [1, 2, 3].map(() => manager.certificateFor(ID, never))
    const materials = await Promise.all(waits)
    expect(new Set(materials).size).toBe(1)
    expect(materials[0]?.identity).toBe(ID)
    expect(await manager.certificateFor(ID, never)).toBe(materials[0])
    expect(manager.current(ID)).toBe(materials[0])
    expect(authority.issued).toBe(1)
  })

  test('uses a fresh key for each certificate', async () => {
    manager.want(ID)
    const first = await manager.certificateFor(ID, never)
    const next = rotation()
    clock.advance(12 * HOUR)
    expect((await next).keyPem).not.toBe(first.keyPem)
  })

  test('waits no longer than its signal, whose reason it gives', async () => {
    authority.failure = failing()
    const budget = new AbortController()
    const wait = manager.certificateFor(ID, budget.signal)
    budget.abort(new Error('too late'))
    await expect(wait).rejects.toThrow('too late')
    await expect(manager.certificateFor(ID, AbortSignal.abort(new Error('over')))).rejects.toThrow(
      'over',
    )
  })

  test('one caller giving up does not disturb the others', async () => {
    const budget = new AbortController()
    const first = manager.certificateFor(ID, budget.signal)
    const second = manager.certificateFor(ID, never)
    budget.abort(new Error('too late'))
    await expect(first).rejects.toThrow('too late')
    expect((await second).identity).toBe(ID)
  })

  test('a waiting caller gets the result of a retry within its own budget', async () => {
    authority.failure = failing()
    manager.want(ID)
    // Failures until the planned wait is far longer than any caller's budget.
    for (let tries = 0; tries < 12; tries++) {
      await settle()
      clock.advance(150 * SECOND)
    }
    await settle()
    expect(manager.dump()[0]?.state).toBe('Unavailable: away')
    clock.advance(5 * SECOND)
    authority.failure = undefined
    const material = await manager.certificateFor(ID, never)
    expect(material.identity).toBe(ID)
  })

  test('tries again within a second while somebody waits', async () => {
    authority.failure = failing()
    manager.want(ID)
    for (let tries = 0; tries < 8; tries++) {
      await settle()
      clock.advance(150 * SECOND)
    }
    await settle()
    const wait = manager.certificateFor(ID, never)
    await settle()
    authority.failure = undefined
    clock.advance(1 * SECOND)
    expect((await wait).identity).toBe(ID)
  })

  test('refuses what is no SPIFFE id, and everything once it is closed', async () => {
    const code = (name: string) => expect.objectContaining({ code: name })
    await expect(manager.certificateFor('spiffe://td/ns/a', never)).rejects.toEqual(
      code('CERTIFICATE_IDENTITY'),
    )
    authority.failure = failing()
    const wait = manager.certificateFor(ID, never)
    await manager[Symbol.asyncDispose]()
    await expect(wait).rejects.toEqual(code('CERTIFICATE_CLOSED'))
    await expect(manager.certificateFor(ID, never)).rejects.toEqual(code('CERTIFICATE_CLOSED'))
    await settle()
    expect(clock.pending).toBe(0)
  })

  test('leaves no listener on a signal that lives long', async () => {
    const { signal } = new AbortController()
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    await Promise.all([1, 2, 3].map((index) => manager.certificateFor(idOf(index), signal)))
    expect(listeners).toBe(0)
  })
})

describe('renewal', () => {
  test.for([
    ['60 seconds', 60 * SECOND],
    ['24 hours', DAY],
    ['90 days', 90 * DAY],
  ] as const)('comes at half of a lifetime of %s, and not before', async ([, lifetimeMs]) => {
    authority.lifetimeMs = lifetimeMs
    manager.want(ID)
    const first = await manager.certificateFor(ID, never)
    clock.advance(lifetimeMs / 2 - 1)
    await settle()
    expect(authority.issued).toBe(1)
    const next = rotation()
    clock.advance(1)
    const second = await next
    expect(authority.issued).toBe(2)
    expect(second).not.toBe(first)
    expect(manager.current(ID)).toBe(second)
  })

  test('is a second away at least', async () => {
    authority.lifetimeMs = 1_000
    manager.want(ID)
    await manager.certificateFor(ID, never)
    clock.advance(999)
    await settle()
    expect(authority.issued).toBe(1)
    clock.advance(1)
    await settle()
    expect(authority.issued).toBe(2)
  })

  test('that fails leaves the old certificate in force until it expires', async () => {
    authority.lifetimeMs = HOUR
    manager.want(ID)
    const first = await manager.certificateFor(ID, never)
    authority.failure = failing()
    clock.advance(HOUR / 2)
    await settle()
    expect(manager.current(ID)).toBe(first)
    expect(manager.dump()[0]?.state).toBe('Available')
    clock.advance(HOUR / 2 - 1)
    expect(manager.current(ID)).toBe(first)
    clock.advance(1)
    expect(manager.current(ID)).toBeUndefined()
    await settle()
    expect(manager.dump()[0]?.state).toBe('Unavailable: away')
  })

  test('is tried again after 1, 2, 4, ... up to 150 seconds', async () => {
    authority.failure = failing()
    const at: number[] = []
    await manager[Symbol.asyncDispose]()
    manager = managerOn({
      issue: async (...args) => {
        at.push(clock.monotonicMs())
        return await authority.issue(...args)
      },
    })
    manager.want(ID)
    while (at.length < 11) {
      await settle()
      clock.advance(1 * SECOND)
    }
    const waits = at.slice(1).map((time, index) => (time - (at[index] ?? 0)) / SECOND)
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 150, 150])
  })

  test('a listener that throws does not keep others from hearing', async () => {
    manager.onRotate(() => {
      throw new Error('broken')
    })
    const heard = rotation()
    manager.want(ID)
    expect((await heard).identity).toBe(ID)
  })
})

describe('want and forget', () => {
  test('want fetches in advance; the last forget ends renewal but not the certificate', async () => {
    manager.want(ID)
    manager.want(ID)
    const material = await manager.certificateFor(ID, never)
    manager.forget(ID)
    clock.advance(12 * HOUR)
    await settle()
    expect(authority.issued).toBe(2)
    manager.forget(ID)
    manager.forget(ID)
    expect(manager.dump()).toEqual([])
    const kept = manager.current(ID)
    expect(kept).toBeDefined()
    expect(kept).not.toBe(material)
    clock.advance(23 * HOUR)
    await settle()
    expect(authority.issued).toBe(2)
    clock.advance(1 * HOUR)
    expect(manager.current(ID)).toBeUndefined()
    expect(clock.pending).toBe(0)
  })

  test('a pod made anew while the CA is away gets the certificate in memory, and renewal again', async () => {
    manager.want(ID)
    const material = await manager.certificateFor(ID, never)
    manager.forget(ID)
    authority.failure = failing()
    clock.advance(1 * HOUR)
    manager.want(ID)
    expect(await manager.certificateFor(ID, never)).toBe(material)
    authority.failure = undefined
    const next = rotation()
    clock.advance(12 * HOUR)
    expect(await next).not.toBe(material)
  })

  test('an identity forgotten before it had a certificate leaves nothing behind', async () => {
    authority.failure = failing()
    manager.want(ID)
    await settle()
    manager.forget(ID)
    expect(clock.pending).toBe(0)
    expect(manager.dump()).toEqual([])
  })

  test('keeps a bounded number of certificates that nobody wants', async () => {
    for (let index = 0; index < 270; index++) await manager.certificateFor(idOf(index), never)
    const kept = Array.from({ length: 270 }, (_, index) => manager.current(idOf(index)))
    expect(kept.filter((material) => material !== undefined)).toHaveLength(256)
    expect(manager.current(idOf(269))).toBeDefined()
  })
})

describe('issuing', () => {
  test('asks for at most 8 at once, and first for those somebody waits for', async () => {
    const asked: { identity: string; answer: () => void }[] = []
    await manager[Symbol.asyncDispose]()
    manager = managerOn({
      issue: async (identity, csr, signal) => {
        await new Promise<void>((resolve) => {
          asked.push({ identity, answer: resolve })
        })
        return await authority.issue(identity, csr, signal)
      },
    })
    for (let index = 0; index < 20; index++) manager.want(idOf(index))
    const urgent = manager.certificateFor(idOf(19), never)
    expect(asked).toHaveLength(8)
    asked[0]?.answer()
    await settle()
    expect(asked).toHaveLength(9)
    expect(asked[8]?.identity).toBe(idOf(19))
    asked[8]?.answer()
    expect((await urgent).identity).toBe(idOf(19))
    for (let index = 1; index < asked.length; index++) {
      asked[index]?.answer()
      await settle()
    }
    expect(new Set(asked.map(({ identity }) => identity)).size).toBe(20)
  })

  test('aborts what is under way when it is closed', async () => {
    let aborted = false
    await manager[Symbol.asyncDispose]()
    manager = managerOn({
      issue: async (_identity, _csr, signal) =>
        await new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted = true
            reject(signal.reason)
          })
        }),
    })
    manager.want(ID)
    await manager[Symbol.asyncDispose]()
    expect(aborted).toBe(true)
  })

  type Answer = (issued: IssuedCertificate, csrPem: string) => Promise<IssuedCertificate>
  const other = new TestingAuthority()
  test.for<[string, RegExp, Answer]>([
    [
      'for another identity',
      /is for spiffe.*other/,
      (_issued, csr) => authority.issue(`${ID}-other`, csr),
    ],
    [
      'for another key',
      /not for the key/,
      async (issued) => ({ ...issued, leaf: authority.material(ID).chainPem }),
    ],
    [
      'without a chain to its root',
      /does not end at a root/,
      async (issued) => ({ ...issued, roots: other.rootsPem }),
    ],
    ['without roots', /holds no certificate/, async (issued) => ({ ...issued, roots: '' })],
    [
      'that is no certificate',
      /holds no certificate/,
      async (issued) => ({ ...issued, leaf: 'x' }),
    ],
    [
      'with two leaves',
      /not one certificate/,
      async (issued) => ({ ...issued, leaf: issued.leaf + issued.leaf }),
    ],
    [
      'that has expired',
      /expired already/,
      async (issued) => ({ ...issued, leaf: authority.badMaterial(ID, 'expired').chainPem }),
    ],
    [
      'that is not valid yet',
      /not valid yet/,
      async (issued) => ({ ...issued, leaf: authority.badMaterial(ID, 'not-yet-valid').chainPem }),
    ],
    [
      'with two names',
      /not for/,
      async (issued) => ({ ...issued, leaf: authority.badMaterial(ID, 'two-sans').chainPem }),
    ],
  ])('refuses a certificate %s', async ([, message, answer]) => {
    await manager[Symbol.asyncDispose]()
    manager = managerOn({
      issue: async (identity, csrPem, signal) =>
        await answer(await authority.issue(identity, csrPem, signal), csrPem),
    })
    manager.want(ID)
    await settle()
    await settle()
    expect(manager.current(ID)).toBeUndefined()
    expect(manager.dump()[0]?.state).toMatch(message)
  })
})

describe('dump', () => {
  test('has the shape that existing tools read', async () => {
    await manager[Symbol.asyncDispose]()
    authority = new TestingAuthority({ now: () => clock.wallMs(), intermediate: true })
    manager = managerOn(authority)
    manager.want(ID)
    expect(manager.dump()).toEqual([
      { identity: ID, state: 'Initializing', certChain: [], rootCerts: [] },
    ])
    const { chain } = await manager.certificateFor(ID, never)
    const [item] = manager.dump()
    expect(item).toMatchObject({ identity: ID, state: 'Available' })
    expect(item?.certChain).toHaveLength(2)
    expect(item?.certChain[0]).toEqual({
      pem: Buffer.from(chain[0].pem).toString('base64'),
      serialNumber: chain[0].serialNumber,
      validFrom: '2026-05-31T23:58:00Z',
      expirationTime: '2026-06-02T00:00:00Z',
    })
    expect(item?.rootCerts).toHaveLength(1)
  })
})
