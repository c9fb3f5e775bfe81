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
    for (let index = 0; index < 12; index++) gate.take(2)
    expect(events).toEqual(['pause'])
    expect(gate.paused).toBe(true)
  })

  test('resumes when a tenth of the budget is free again, not before', () => {
    const { gate, events } = gateOf(20)
    const held = Array.from({ length: 10 }, () => gate.take(2))
    expect(events).toEqual(['pause'])
    held[0]?.()
    expect(events).toEqual(['pause', 'resume'])
    expect(gate.paused).toBe(false)
  })

  test('a share is given back once, however often that is said', () => {
    const { gate } = gateOf(20)
    const release = gate.take(2)
    gate.take(2)
    release()
    release()
    expect(gate.held).toBe(2)
  })

  test('what waits for room goes on when there is some, or gives up when told', async () => {
    const { gate } = gateOf(4)
    await gate.room(new AbortController().signal)
    const release = gate.take(4)
    const patient = gate.room(new AbortController().signal)
    const hurried = new AbortController()
    const refused = gate.room(hurried.signal)
    hurried.abort(new Error('too late'))
    await expect(refused).rejects.toThrow('too late')
    release()
    await patient
  })
})
