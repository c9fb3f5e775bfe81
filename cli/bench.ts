import { Command } from 'commander'
import type { BenchFlags } from '../bench/main.ts'

/** `ambit bench`: what the mesh costs, against other proxies on the same machine. */
export function benchCommand(): Command {
  return new Command('bench')
    .description('measure ambit against no proxy, HAProxy and nginx on this machine (needs root)')
    .option('--quick', 'fewer and shorter runs, under three minutes')
    .option(
      '--only <names>',
      'topologies and workloads by name, or by the words that names begin with; with commas',
    )
    .option('--duration <time>', 'of one run, like 3s')
    .option('--connections <counts>', 'of the keep-alive HTTP load, like 1,64')
    .option('--rounds <count>', 'how often each is run')
    .option('--baseline <family>', 'what ratios are to (default: haproxy-mtls, if it runs)')
    .option('--out <folder>', 'where results.json and index.html go', 'bench-results')
    .action(async (flags: BenchFlags & { readonly out: string }) => {
      const { runBench } = await import('../bench/main.ts')
      process.exit(await runBench(flags))
    })
}
