#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { codeOf, describeError } from '../shared/runtime/errors.ts'
import { packageVersion } from '../shared/runtime/version.ts'
import { benchCommand } from './bench.ts'
import { controlPlaneCommand } from './controlplane.ts'
import { demoCommand } from './demo.ts'
import { tokenCommand } from './token.ts'
import { ztunnelCommand } from './ztunnel.ts'

/** Bad flags, settings and environment end with this; anything else that goes wrong with 1. */
const USAGE = 2

const program = new Command('ambit')
  .description('an ambient service mesh')
  .version(packageVersion())
  .addCommand(ztunnelCommand())
  .addCommand(controlPlaneCommand())
  .addCommand(tokenCommand())
  .addCommand(demoCommand())
  .addCommand(benchCommand())

for (const command of [program, ...program.commands]) command.exitOverride()

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = exitCodeOf(error)
  if (!(error instanceof CommanderError)) {
    for (const line of settingsLines(error)) process.stderr.write(`ambit: ${line}\n`)
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE
  return codeOf(error) === 'AMBIT_SETTINGS' ? USAGE : 1
}

/** Problems with settings come a line each. */
function settingsLines(error: unknown): readonly string[] {
  if (codeOf(error) !== 'AMBIT_SETTINGS' || !(error instanceof Error)) return [describeError(error)]
  return error.message.split('\n')
}
