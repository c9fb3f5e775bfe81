import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { TestingAuthority } from '../../../shared/identity/testing-authority.ts'
import type { LabMesh } from '../../../shared/lab/mesh.ts'
import type { Place } from '../../../shared/lab/place.ts'
import { codeOf } from '../../../shared/runtime/errors.ts'
import { formatEndpoint } from '../../../shared/runtime/ip-address.ts'
import { connectFrom } from './programs.ts'
import { HBONE_PORT } from './wire-tap.ts'

const TIMEOUT_MS = 10_000

/** One that signs as the mesh's own CA, also what that one never would. */
export function authorityOf(mesh: LabMesh): TestingAuthority {
  const read = (name: string): string => readFileSync(join(mesh.stateDirectory, name), 'utf8')
  return new TestingAuthority({
    root: { key: read('ca-key.pem'), certificate: read('root-cert.pem') },
  })
}

export interface Attempt {
  /** The client's own end of the connection, as the log of the server has to name it. */
  readonly local: string
  /** `served` if the server spoke HTTP/2 after the handshake; else how it ended. */
  readonly outcome: 'served' | 'closed' | (string & {})
  /** The server's certificate, DER; undefined if it sent none that could be read. */
  readonly certificate: Buffer | undefined
  readonly session: Buffer | undefined
  readonly isSessionReused: boolean
}

/** A TLS client of no mesh's making calls the HBONE port of an address, and says nothing. */
export async function attempt(
  place: Place,
  host: string,
  options: ConnectionOptions,
): Promise<Attempt> {
  const socket = await connectFrom(place, host, HBONE_PORT)
  const local = formatEndpoint(socket.localAddress ?? '', socket.localPort ?? 0)
  const tls = connect({
    ALPNProtocols: ['h2'],
    rejectUnauthorized: false,
    ...options,
    socket,
  })
  let certificate: Buffer | undefined
  tls.once('secureConnect', () => {
    certificate = tls.getPeerX509Certificate()?.raw
  })
  const outcome = await outcomeOf(tls)
  const session = tls.getSession()
  const isSessionReused = tls.isSessionReused()
  tls.destroy()
  return { local, outcome, certificate, session, isSessionReused }
}

/** With TLS 1.3 a client that is refused sees a completed handshake first; an HTTP/2 server speaks at once. */
function outcomeOf(tls: TLSSocket): Promise<string> {
  return new Promise((resolve) => {
    tls.once('data', () => resolve('served'))
    tls.once('end', () => resolve('closed'))
    tls.once('close', () => resolve('closed'))
    tls.on('error', (error) => resolve(codeOf(error) ?? error.message))
    tls.setTimeout(TIMEOUT_MS, () => resolve('no answer'))
  })
}
