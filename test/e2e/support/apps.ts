import { type AppName, appPath } from '../../../shared/lab/apps/app-path.ts'
import type { LabProcess } from '../../../shared/lab/lab-process.ts'
import type { Place } from '../../../shared/lab/place.ts'

const PORTS = { 'http-app': 8_080, 'tcp-app': 9_000 } as const satisfies Record<AppName, number>
export const HTTP_PORT = PORTS['http-app']
export const TCP_PORT = PORTS['tcp-app']

/** Starts a sample app at its port; resolves when it listens. */
export async function startApp(place: Place, app: AppName): Promise<LabProcess> {
  const running = place.spawn(process.execPath, [appPath(app), '--port', String(PORTS[app])])
  await place.waitForPort(PORTS[app], 15_000)
  return running
}
