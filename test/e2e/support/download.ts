import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { byteStreamHash } from '../../../shared/lab/apps/byte-stream.ts'
import type { Place } from '../../../shared/lab/place.ts'
import { HTTP_PORT } from './apps.ts'

export interface DownloadOptions {
  readonly from: Place
  readonly to: Place
  /** Where the file is put meanwhile. */
  readonly directory: string
  readonly bytes: number
  readonly bytesPerSecond: number
}

export type DownloadResult =
  | { readonly kind: 'intact' }
  | { readonly kind: 'broken'; readonly code: number | null; readonly output: string }

const START_MS = 5_000

/**
 * Begins a download by curl from an `http-app`, at a limited rate. Resolves when the first bytes have arrived, with
 * how it ends; that never rejects.
 */
export async function startDownload(
  options: DownloadOptions,
): Promise<{ readonly result: Promise<DownloadResult> }> {
  const { from, to, directory, bytes, bytesPerSecond } = options
  const seed = `${from.name}-${to.name}`
  const file = join(directory, `${seed}.download`)
  const url = `http://${to.address4}:${HTTP_PORT}/bytes?n=${bytes}&seed=${seed}`
  const curl = from.spawn('curl', ['-sSNo', file, '--limit-rate', String(bytesPerSecond), url])
  const result = curl.exited.then(async ({ code }): Promise<DownloadResult> => {
    const hash = await hashOf(file).catch(() => 'no file')
    await rm(file, { force: true })
    if (code === 0 && hash === (await byteStreamHash(bytes, seed))) return { kind: 'intact' }
    return { kind: 'broken', code, output: `${curl.output} ${hash}` }
  })
  const until = performance.now() + START_MS
  while ((await sizeOf(file)) === 0 && performance.now() < until) await sleep(10)
  return { result }
}

const sizeOf = async (file: string): Promise<number> =>
  await stat(file).then(
    ({ size }) => size,
    () => 0,
  )

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}
