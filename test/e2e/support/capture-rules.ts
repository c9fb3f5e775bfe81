import type { Place } from '../../../shared/lab/place.ts'

/** Everything that capture leaves in a pod's namespace, as the tools print it; each empty if there is none. */
export async function captureRules(place: Place) {
  const table = await place.exec('nft', ['list', 'table', 'inet', 'ambit'])
  const rules = async (family: '-4' | '-6'): Promise<string> => {
    const rule = await place.exec('ip', [family, 'rule', 'show', 'priority', '32764'])
    const route = await place.exec('ip', [family, 'route', 'show', 'table', '100'])
    return (rule.stdout + route.stdout).trim()
  }
  return {
    table: table.code === 0 ? table.stdout : '',
    routing4: await rules('-4'),
    routing6: await rules('-6'),
  }
}

export const NO_CAPTURE = { table: '', routing4: '', routing6: '' } as const
