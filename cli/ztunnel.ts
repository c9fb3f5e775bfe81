import type { Command } from 'commander'
import { ZTUNNEL_SETTINGS } from '../ztunnel/settings.ts'
import { programCommand } from './program-command.ts'

/** `ambit ztunnel`: the node proxy. */
export const ztunnelCommand = (): Command =>
  programCommand(
    'ztunnel',
    "capture this node's pods and tunnel their connections",
    ZTUNNEL_SETTINGS,
    async (settings) => {
      const { runZtunnel } = await import('../ztunnel/main.ts')
      await runZtunnel(settings)
    },
  )
