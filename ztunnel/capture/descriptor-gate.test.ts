import { describe, expect, test } from 'vitest'
import { DescriptorGate } from './descriptor-gate.ts'

function gateOf(budget: number) {
  const events: string[] = []
  const gate = new DescriptorGate({
    budget,
    onPause: () => events.push('pause'),
    onResume: () => events.push('resume'),
  })
  return { gate, events }
}

describe('DescriptorGate', () => {
  test('pauses once when connections hold the whole budget', () => {
    const { gate, events } = gateOf(20)
    for (let index = 0; index < 12; index++) gate.take()
    expect(events).toEqual(['pause'])
    expect(gate.paused).toBe(true)
  })

  test('resumes when a tenth of the budget is free again, not before', () => {
    const { gate, events } = gateOf(20)
    const held = Array.from({ length: 10 }, () => gate.take())
    expect(events).toEqual(['pause'])
    held[0]?.()
    expect(events).toEqual(['pause', 'resume'])
    expect(gate.paused).toBe(false)
  })

  test('a share is given back once, however often that is said', () => {
    const { gate } = gateOf(20)
    const release = gate.take()
    gate.take()
    release()
    release()
    expect(gate.held).toBe(2)
  })
})
