import { Command, Option } from 'commander'

interface DemoFlags {
  readonly check?: boolean
  readonly sabotage?: string
}

/** `ambit demo`: a mesh of two nodes on this machine. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('show a mesh of two nodes and a small shop on this machine (needs root)')
    .option('--check', 'verify it from outside, remove it, and exit with 0 or 1')
    .addOption(
      new Option('--sabotage <kind>', 'with --check: break the mesh, so that a check fails')
        .choices(['plaintext', 'policy', 'capture'])
        .hideHelp(),
    )
    .action(async ({ check = false, sabotage }: DemoFlags) => {
      const { runDemo } = await import('../demo/main.ts')
      process.exit(await runDemo({ check, sabotage }))
    })
}
