import type { Command } from 'commander'
import { CONTROL_PLANE_SETTINGS } from '../controlplane/settings.ts'
import { programCommand } from './program-command.ts'

/** `ambit controlplane`: objects in, configuration and certificates out. */
export const controlPlaneCommand = (): Command =>
  programCommand(
    'controlplane',
    'serve configuration and certificates to the nodes',
    CONTROL_PLANE_SETTINGS,
    async (settings) => {
      const { runControlPlane } = await import('../controlplane/main.ts')
      await runControlPlane(settings)
    },
  )
