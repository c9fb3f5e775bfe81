import { systemClock } from '../../shared/runtime/clock.ts'
import { NodeTokens } from '../ca/tokens.ts'

export interface TokenCommand {
  /** The control plane's state directory; its token key is made if there is none yet. */
  readonly stateDir: string
  readonly node: string
  readonly ttlSeconds: number
}

/** A bootstrap token for the agent of `node`; offline, by the key in the state directory. */
export const createToken = async (command: TokenCommand): Promise<string> =>
  await NodeTokens.open(command.stateDir, systemClock).create(command)
