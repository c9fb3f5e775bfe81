import { join } from 'node:path'

/** The commands that the demo prints and that its check runs, letter by letter. Each may be repeated. */
export interface ThingsToTry {
  readonly call: string
  readonly onlyOrders: string
  readonly everyoneAgain: string
  readonly strict: string
  readonly permissive: string
}

/** `marker` is the comment in the sample above what has to go. */
const marker = 'Everyone else'

export function thingsToTry(prefix: string, configDirectory: string): ThingsToTry {
  const policy = join(configDirectory, 'payments-policy.yaml')
  const peers = join(configDirectory, 'peer-authentication.yaml')
  return {
    call: `ip netns exec ${prefix}frontend curl -s http://payments/`,
    onlyOrders: `sed -i '/${marker}/,$s/^  /#  /' ${policy}`,
    everyoneAgain: `sed -i '/${marker}/,$s/^#  /  /' ${policy}`,
    strict: `sed -i 's/PERMISSIVE$/STRICT/' ${peers}`,
    permissive: `sed -i 's/STRICT$/PERMISSIVE/' ${peers}`,
  }
}
