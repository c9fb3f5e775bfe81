import { Command } from 'commander'
import { parseDuration } from '../shared/runtime/duration.ts'
import { AmbitError } from '../shared/runtime/errors.ts'

interface TokenFlags {
  readonly node: string
  readonly state: string
  readonly ttl: string
}

/** `ambit token create`: a bootstrap token for the agent of one node, made offline. */
export function tokenCommand(): Command {
  const create = new Command('create')
    .description("print a token with which a node's ztunnel proves which node it is")
    .requiredOption('--node <NAME>', 'the node')
    .requiredOption('--state <DIR>', "the control plane's state directory")
    .option('--ttl <DURATION>', 'how long it is valid', '24h')
    .action(async ({ node, state, ttl }: TokenFlags) => {
      const ms = parseDuration(ttl)
      if (ms === undefined || ms < 1_000) {
        throw new AmbitError(
          'AMBIT_SETTINGS',
          `--ttl: ${JSON.stringify(ttl)} is not a duration like 24h`,
        )
      }
      const { createToken } = await import('../controlplane/commands/token.ts')
      const token = await createToken({ stateDir: state, node, ttlSeconds: Math.round(ms / 1000) })
      process.stdout.write(`${token}\n`)
    })
  return new Command('token').description('tokens of node agents').addCommand(create)
}
