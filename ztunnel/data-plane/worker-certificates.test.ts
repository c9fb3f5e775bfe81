import { describe, expect, test } from 'vitest'
import { FakeClock } from '../../shared/runtime/clock.ts'
import type { WorkerCertificate } from './messages.ts'
import { WorkerCertificates } from './worker-certificates.ts'

const NEVER = new AbortController().signal

function setUp() {
  const clock = new FakeClock()
  const asked: string[] = []
  const certificates = new WorkerCertificates({ clock, ask: (identity) => asked.push(identity) })
  const certificate = (identity: string, validMs = 1_000): WorkerCertificate => ({
    identity,
    keyPem: 'key',
    chainPem: 'chain',
    rootsPem: 'roots',
    expiresMs: clock.wallMs() + validMs,
  })
  return { clock, asked, certificates, certificate }
}

describe('WorkerCertificates', () => {
  test('what was sent is there at once, until it expires', async () => {
    const { clock, asked, certificates, certificate } = setUp()
    const sent = certificate('a')
    certificates.install(sent)
    expect(await certificates.certificateFor('a', NEVER)).toBe(sent)
    expect(asked).toEqual([])
    clock.advance(1_000)
    const next = certificates.certificateFor('a', NEVER)
    expect(asked).toEqual(['a'])
    const renewed = certificate('a')
    certificates.install(renewed)
    expect(await next).toBe(renewed)
  })

  test('asks once for all who wait, and again after an answer without one if somebody still waits', async () => {
    const { asked, certificates, certificate } = setUp()
    const given = new AbortController()
    const first = certificates.certificateFor('a', given.signal)
    const second = certificates.certificateFor('a', NEVER)
    expect(asked).toEqual(['a'])
    given.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    certificates.refuse('a', undefined)
    expect(asked).toEqual(['a', 'a'])
    certificates.install(certificate('a'))
    await second
    certificates.refuse('a', undefined)
    expect(asked).toEqual(['a', 'a'])
  })

  test('a refusal ends the wait; the next one asks anew', async () => {
    const { asked, certificates } = setUp()
    const waiting = certificates.certificateFor('a', NEVER)
    certificates.refuse('a', { code: 'CERTIFICATE_TOO_MANY', message: 'too many identities' })
    await expect(waiting).rejects.toMatchObject({ code: 'CERTIFICATE_TOO_MANY' })
    void certificates.certificateFor('a', NEVER)
    expect(asked).toEqual(['a', 'a'])
  })

  test('keys of pods that have left are forgotten', async () => {
    const { asked, certificates, certificate } = setUp()
    certificates.install(certificate('a'))
    certificates.install(certificate('b'))
    certificates.retain(new Set(['b']))
    await certificates.certificateFor('b', NEVER)
    void certificates.certificateFor('a', NEVER)
    expect(asked).toEqual(['a'])
  })
})
