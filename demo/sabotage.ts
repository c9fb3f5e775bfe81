import { AmbitError } from '../shared/runtime/errors.ts'
import type { RunningShop } from './running-shop.ts'

const SABOTAGES = ['plaintext', 'policy', 'capture'] as const
export type Sabotage = (typeof SABOTAGES)[number]

/** None for no text; throws `DEMO_SABOTAGE` for a text that names none. */
export function findSabotage(text: string | undefined): Sabotage | undefined {
  if (text === undefined) return undefined
  const kind = SABOTAGES.find((known) => known === text)
  if (kind !== undefined) return kind
  throw new AmbitError('DEMO_SABOTAGE', `sabotage '${text}': one of ${SABOTAGES.join(', ')}`)
}

/** Breaks a running mesh on purpose: a check that cannot fail shows nothing. */
export async function sabotage(shop: RunningShop, kind: Sabotage): Promise<void> {
  switch (kind) {
    case 'plaintext':
      // Without its redirection the pod talks to others directly, in the clear.
      await run(shop, 'frontend', 'nft', ['flush', 'ruleset'])
      return
    case 'policy':
      await shop.mesh.apply('sabotage', [
        {
          apiVersion: 'security.istio.io/v1',
          kind: 'AuthorizationPolicy',
          metadata: { name: 'allow-all', namespace: 'shop' },
          spec: { action: 'ALLOW', rules: [{}] },
        },
      ])
      return
    case 'capture':
      // What arrives is answered under a foreign address, as by a proxy that does not keep the caller's.
      await run(shop, 'payments-v1', 'nft', ['-f', '-'], MASQUERADE)
      await run(shop, 'payments-v2', 'nft', ['-f', '-'], MASQUERADE)
  }
}

const MASQUERADE = `
table inet sabotage {
  chain hide {
    type nat hook postrouting priority 100;
    oifname "lo" ip daddr != 127.0.0.0/8 masquerade
    oifname "lo" ip6 daddr != ::1 masquerade
  }
}
`

async function run(
  shop: RunningShop,
  pod: string,
  command: string,
  args: readonly string[],
  input = '',
): Promise<void> {
  const { code, stderr } = await shop.pod(pod).place.exec(command, args, { input })
  if (code !== 0) throw new AmbitError('DEMO_SABOTAGE', `${command} in ${pod}: ${stderr.trim()}`)
}
