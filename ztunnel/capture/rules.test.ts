import { describe, expect, test } from 'vitest'
import { captureRuleset, isOwner, releaseRuleset } from './rules.ts'

describe('whose rules they are', () => {
  test.each(['node-2', 'a'.repeat(253)])('is noted as long as they are there: %s', (node) => {
    for (const ruleset of [captureRuleset(node), releaseRuleset(node)]) {
      expect(isOwner(ruleset, node)).toBe(true)
      expect(/comment "(.*)"/.exec(ruleset)?.[1]?.length).toBeLessThanOrEqual(128)
    }
  })

  test.each([
    ['node-2', 'node-1'],
    ['node-2', 'node-22'],
    ['node-22', 'node-2'],
    [`${'a'.repeat(252)}b`, `${'a'.repeat(252)}c`],
  ])('%s has nothing to do with %s', (owner, other) => {
    expect(isOwner(captureRuleset(owner), other)).toBe(false)
  })
})
