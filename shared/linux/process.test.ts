import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, copyFileSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { descriptorLimit, openDescriptors } from './descriptors.ts'
import { startTimeOf } from './process.ts'

describe('startTimeOf', () => {
  test('is constant for a living process and gone with it', async () => {
    expect(startTimeOf(process.pid)).toMatch(/^\d+$/)
    expect(startTimeOf(process.pid)).toBe(startTimeOf(process.pid))
    const child = spawn('sleep', ['30'], { stdio: 'ignore' })
    await once(child, 'spawn')
    expect(Number(startTimeOf(child.pid ?? 0))).toBeGreaterThan(Number(startTimeOf(process.pid)))
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(startTimeOf(child.pid ?? 0)).toBeUndefined()
  })

  test('is not misled by spaces and parentheses in a name', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambit-'))
    const program = join(folder, ') Z 1 (')
    copyFileSync('/bin/sleep', program)
    const child = spawn(program, ['30'], { stdio: 'ignore' })
    await once(child, 'spawn')
    expect(Number(startTimeOf(child.pid ?? 0))).toBeGreaterThan(1_000)
    child.kill('SIGKILL')
    await once(child, 'exit')
    rmSync(folder, { recursive: true })
  })
})

describe('descriptors', () => {
  test('are counted, below a limit', () => {
    const before = openDescriptors()
    const fd = openSync('/dev/null', 'r')
    expect(openDescriptors()).toBe(before + 1)
    closeSync(fd)
    expect(descriptorLimit()).toBeGreaterThan(before)
  })
})
