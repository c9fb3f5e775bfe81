import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { expect } from 'vitest'
import { appPath } from '../../../shared/lab/apps/app-path.ts'
import type { LabProcess } from '../../../shared/lab/lab-process.ts'
import type { Place } from '../../../shared/lab/place.ts'
import { tcpSocket } from '../../../shared/linux/sockets.ts'

/** The sample applications, listening: HTTP on 8080 and TCP on 9000. */
export async function startApps(place: Place): Promise<void> {
  place.spawn(process.execPath, [appPath('http-app'), '--name', place.name])
  place.spawn(process.execPath, [appPath('tcp-app')])
  await Promise.all([place.waitForPort(8080), place.waitForPort(9000)])
}

/** nginx on port 80 of both families, serving the files of `root`; its own files go to `directory`. */
export async function startNginx(
  place: Place,
  options: { readonly directory: string; readonly root: string },
): Promise<LabProcess> {
  const { directory, root } = options
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const path = join(directory, `nginx-${place.name}.conf`)
  await writeFile(
    path,
    `daemon off; user root; worker_processes 1; error_log stderr warn;
pid ${directory}/nginx-${place.name}.pid;
events {}
http {
  access_log off; sendfile on;
${paths.map((name) => `  ${name}_temp_path ${directory}/nginx-${place.name}-${name};`).join('\n')}
  server { listen 80; listen [::]:80; root ${root}; }
}
`,
  )
  const running = place.spawn('nginx', ['-c', path])
  await place.waitForPort(80)
  return running
}

/** Redis on port 6379 of both families, in memory only. */
export async function startRedis(place: Place): Promise<LabProcess> {
  const args = ['--port', '6379', '--bind', '*', '-::*', '--protected-mode', 'no']
  const running = place.spawn('redis-server', [...args, '--save', '', '--appendonly', 'no'])
  await place.waitForPort(6379)
  return running
}

/**
 * What a shell script prints; fails the test unless it ends with 0. Without `--norc`, a bash whose input is a socket,
 * as Node's pipes are, takes itself for a remote login.
 */
export async function sh(place: Place, script: string, timeoutMs = 30_000): Promise<string> {
  const { code, stdout, stderr } = await place.exec(
    'bash',
    ['--norc', '-ec', `set -o pipefail\n${script}`],
    {
      timeoutMs,
    },
  )
  expect({ code, stderr }, script).toEqual({ code: 0, stderr: '' })
  return stdout
}

/** A TCP connection from inside a place, with half-close; rejects if it cannot be made. Later errors are no surprise. */
export async function connectFrom(place: Place, host: string, port: number): Promise<Socket> {
  const fd = place.namespace.run(() => tcpSocket({ family: host.includes(':') ? 6 : 4 }))
  const socket = new Socket({ fd, allowHalfOpen: true })
  socket.connect({ host, port })
  await once(socket, 'connect')
  socket.on('error', () => undefined)
  return socket
}
