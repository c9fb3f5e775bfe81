import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { DescriptorBudget } from './descriptor-budget.ts'
import { DescriptorGate } from './descriptor-gate.ts'

function gateOf(limit: number, budget = DescriptorBudget.of(limit, 3), slot = 0) {
  const events: string[] = []
  const gate = new DescriptorGate({
    budget,
    slot,
    onLimit: () => events.push('limit'),
    onPause: () => events.push('pause'),
    onResume: () => events.push('resume'),
  })
  return { gate, budget, events }
}

describe('DescriptorGate', () => {
  test('pauses once when connections hold four fifths of the budget', () => {
    const { gate, events } = gateOf(25)
    for (let index = 0; index < 9; index++) gate.take(2)
    expect(events).toEqual([])
    for (let index = 0; index < 3; index++) gate.take(2)
    expect(events).toEqual(['pause', 'limit'])
    expect(gate.paused).toBe(true)
  })

  test('resumes when a tenth of that is free again, not before', () => {
    const { gate, events } = gateOf(25)
    const held = Array.from({ length: 11 }, () => gate.take(2))
    held[0]?.()
    expect(events).toEqual(['pause', 'limit'])
    held[1]?.()
    expect(events).toEqual(['pause', 'limit', 'resume'])
    expect(gate.paused).toBe(false)
  })

  test('a share is given back once, however often that is said', () => {
    const { gate, budget } = gateOf(20)
    const release = gate.take(2)
    gate.take(2)
    release()
    release()
    expect(budget.held).toBe(2)
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

  test('while accepting pauses, there is room for the other half of what was accepted', async () => {
    const { gate, budget } = gateOf(100)
    gate.take(80)
    expect(gate.paused).toBe(true)
    await gate.room(new AbortController().signal)
    // All of it is held; another thread gives some back.
    budget.add(2, 20)
    const waiting = gate.room(AbortSignal.timeout(5_000))
    budget.add(2, -20)
    await waiting
  })

  test('the gates of all threads share the budget, pause and resume together, and one says so', async () => {
    const first = gateOf(20)
    const second = gateOf(20, new DescriptorBudget(first.budget.shared), 1)
    const release = first.gate.take(10)
    second.gate.take(10)
    expect(second.events).toEqual(['pause', 'limit'])
    await vi.waitFor(() => expect(first.events).toEqual(['pause']))
    release()
    await vi.waitFor(() => expect(second.events).toEqual(['pause', 'limit', 'resume']))
    // Waking up leaves both as they are.
    await sleep(0)
    expect(first.events).toEqual(['pause', 'resume'])
  })

  test('a thread that is gone gives its share back', async () => {
    const { gate, budget, events } = gateOf(20)
    gateOf(20, new DescriptorBudget(budget.shared), 2).gate.take(15)
    gate.take(5)
    expect(gate.paused).toBe(true)
    budget.clear(2)
    await vi.waitFor(() => expect(events).toEqual(['pause', 'limit', 'resume']))
    expect(budget.held).toBe(5)
  })
})
