import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { createFile, openPrivateDir, readPrivateFile, readText } from './private-files.ts'

/** The texts of the four files that Istio calls `cacerts`. */
export interface CaFiles {
  /** Directory, for messages. */
  readonly directory: string
  readonly caKey: string
  readonly caCert: string
  /** From the signing certificate towards the root; may be empty. */
  readonly certChain: string
  readonly rootCert: string
}

export const CA_FILE_NAMES = {
  caKey: 'ca-key.pem',
  caCert: 'ca-cert.pem',
  certChain: 'cert-chain.pem',
  rootCert: 'root-cert.pem',
} as const

/** Reads a plugged-in CA; `cert-chain.pem` may be absent. Throws `CA_FILES`. */
export function loadCaDir(directory: string): CaFiles {
  const { caKey, caCert, certChain, rootCert } = CA_FILE_NAMES
  return {
    directory,
    caKey: present(directory, caKey, readPrivateFile(join(directory, caKey))),
    caCert: present(directory, caCert, readText(join(directory, caCert))),
    certChain: readText(join(directory, certChain)) ?? '',
    rootCert: present(directory, rootCert, readText(join(directory, rootCert))),
  }
}

/**
 * Reads the CA of a state directory, and makes what is not there yet. The key comes first and is never made anew
 * while a certificate exists; so a first start that was interrupted, or two at once, end with one CA, and a CA that
 * lost a file is reported rather than replaced.
 */
export function openStateDir(directory: string, selfSign: (caKey: string) => string): CaFiles {
  openPrivateDir(directory)
  const path = (name: string): string => join(directory, name)
  const { caKey, caCert, certChain, rootCert } = CA_FILE_NAMES
  const found = {
    key: readPrivateFile(path(caKey)),
    cert: readText(path(caCert)),
    root: readText(path(rootCert)),
  }
  if (found.key === undefined && (found.cert ?? found.root) !== undefined) {
    throw lost(directory, caKey)
  }
  if (found.cert === undefined && found.root !== undefined) throw lost(directory, caCert)
  const key = found.key ?? createFile(path(caKey), newKey(), 0o600)
  const cert = found.cert ?? createFile(path(caCert), selfSign(key), 0o644)
  const chain = readText(path(certChain)) ?? createFile(path(certChain), cert, 0o644)
  const root = found.root ?? createFile(path(rootCert), cert, 0o644)
  return { directory, caKey: key, caCert: cert, certChain: chain, rootCert: root }
}

const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString()

function present(directory: string, name: string, text: string | undefined): string {
  if (text !== undefined) return text
  throw new AmbitError('CA_FILES', `the CA directory ${directory} has no ${name}`)
}

const lost = (directory: string, name: string): AmbitError =>
  new AmbitError(
    'CA_FILES',
    `the state directory ${directory} has a CA but no ${name}; restore it, or remove the whole directory for a new CA`,
  )
