import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { appPath } from '../shared/lab/apps/app-path.ts'
import type { LabProcess } from '../shared/lab/lab-process.ts'
import type { Place } from '../shared/lab/place.ts'

/** The unmodified programs that are talked to, by the port that each listens on in a server's namespace. */
export const APP_PORTS = { http: 8080, redis: 6379, iperf3: 5201, echo: 9000 } as const

export type App = keyof typeof APP_PORTS

/** Bodies that the HTTP server has, by the name of their file, in bytes. */
export const BODIES = { '0.1k': 100, '10k': 10_000, '1000k': 1_000_000 } as const

export type Body = keyof typeof BODIES

const LISTEN_MS = 10_000

/** Starts a program and waits until it listens. `directory` is for its files. */
export async function startApp(app: App, place: Place, directory: string): Promise<LabProcess> {
  const running = spawnApp(app, place, directory)
  await place.waitForPort(APP_PORTS[app], LISTEN_MS)
  return running
}

function spawnApp(app: App, place: Place, directory: string): LabProcess {
  const port = String(APP_PORTS[app])
  switch (app) {
    case 'http':
      return place.spawn('nginx', ['-p', directory, '-c', writeWebServer(place, directory)])
    case 'redis': {
      const bind = ['--port', port, '--bind', '*', '--protected-mode', 'no', '--dir', '/']
      return place.spawn('redis-server', [...bind, '--save', '', '--appendonly', 'no'])
    }
    case 'iperf3':
      return place.spawn('iperf3', ['--server', '--port', port])
    case 'echo':
      return place.spawn(process.execPath, [appPath('tcp-app'), '--port', port])
  }
}

function writeWebServer(place: Place, directory: string): string {
  const own = join(directory, `web-${place.name}`)
  const root = join(own, 'www')
  mkdirSync(root, { recursive: true })
  for (const [name, size] of Object.entries(BODIES))
    writeFileSync(join(root, name), 'x'.repeat(size))
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const file = join(own, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off; user root; worker_processes 1; pid ${own}/pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 1h;
  open_file_cache max=16 inactive=1h;
${folders.map((name) => `  ${name}_temp_path ${own}/${name};`).join('\n')}
  server { listen ${APP_PORTS.http} backlog=4096; root ${root}; }
}
`,
  )
  return file
}
