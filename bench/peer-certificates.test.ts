import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { SERVER_NAME, writePeerCertificates } from './peer-certificates.ts'

test('both sides get a P-256 certificate of one root, valid now, with its key', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ambit-peers-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const { ca, client, server } = writePeerCertificates(directory, Date.now())
  const read = (path: string) => new X509Certificate(readFileSync(path))
  for (const side of [client, server]) {
    const certificate = read(side.certificate)
    expect(certificate.verify(read(ca).publicKey)).toBe(true)
    expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1')
    expect(certificate.validToDate.getTime()).toBeGreaterThan(Date.now())
    expect(readFileSync(side.bundle, 'utf8')).toBe(
      readFileSync(side.certificate, 'utf8') + readFileSync(side.key, 'utf8'),
    )
  }
  expect(read(server.certificate).checkHost(SERVER_NAME)).toBe(SERVER_NAME)
  expect(read(client.certificate).checkHost(SERVER_NAME)).toBeUndefined()
})
