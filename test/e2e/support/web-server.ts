import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Place } from '../../../shared/lab/place.ts'

export interface WebServer {
  /** The requests that it got so far, each as `ADDRESS PORT PATH`. */
  requests(): readonly string[]
}

/** Takes hours to download. */
export const SLOW = '/slow'
const SLOW_BYTES = 1_000_000_000

/** nginx in a pod: answers everything with 200, and `SLOW` at 100 KB a second. */
export async function startWebServer(
  place: Place,
  directory: string,
  ports: readonly number[],
): Promise<WebServer> {
  mkdirSync(directory, { recursive: true })
  const file = join(directory, 'nginx.conf')
  const slow = join(directory, 'slow')
  writeFileSync(slow, '')
  truncateSync(slow, SLOW_BYTES)
  const listen = ports.map((port) => `listen ${port}; listen [::]:${port};`).join(' ')
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((one) => `${one}_temp_path ${directory}/${one};`)
    .join(' ')
  writeFileSync(
    file,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/pid;
error_log stderr;
events { worker_connections 256; }
http {
  ${folders}
  log_format seen '$remote_addr $server_port $request_uri';
  access_log ${directory}/requests seen;
  server {
    ${listen}
    location / { return 200 "welcome\\n"; }
    location ${SLOW} { alias ${slow}; limit_rate 100k; }
  }
}
`,
  )
  place.spawn('nginx', ['-p', directory, '-c', file])
  for (const port of ports) await place.waitForPort(port)
  return {
    requests: () => readFileSync(join(directory, 'requests'), 'utf8').trimEnd().split('\n'),
  }
}
