import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { LineWriter } from './line-writer.ts'

const O_RDWR_NONBLOCK = 2 | 0o4000

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambit-lines-'))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const drops = (): { count: number; add: (lines: number) => void } => {
  const dropped = { count: 0, add: (lines: number) => void (dropped.count += lines) }
  return dropped
}

describe('LineWriter', () => {
  test('writes the lines of a turn in order', async () => {
    const path = join(folder, 'plain')
    const fd = openSync(path, 'w')
    const writer = new LineWriter(fd, () => undefined)
    const lines = Array.from({ length: 2_000 }, (_, at) => `line ${at} é\n`)
    for (const line of lines) writer.write(line)
    await vi.waitFor(() => expect(readFileSync(path, 'utf8')).toBe(lines.join('')))
    closeSync(fd)
  })

  test('waits for a reader that is slow, loses lines only beyond its bound, and says how many', async () => {
    const path = join(folder, 'pipe')
    execFileSync('mkfifo', [path])
    const fd = openSync(path, O_RDWR_NONBLOCK)
    const dropped = drops()
    const writer = new LineWriter(fd, dropped.add)
    const line = (at: number): string => `${String(at).padStart(99, '0')}\n`
    const total = 15_000
    for (let at = 0; at < total; at++) writer.write(line(at))
    await sleep(20)
    let text = ''
    const buffer = Buffer.alloc(65_536)
    await vi.waitFor(
      () => {
        text += read(fd, buffer)
        expect(dropped.count).toBeGreaterThan(0)
      },
      { timeout: 5_000, interval: 1 },
    )
    text += read(fd, buffer)
    const kept = total - dropped.count
    expect(kept).toBe(Math.floor(1_048_576 / 100))
    expect(text).toBe(Array.from({ length: kept }, (_, at) => line(at)).join(''))
    closeSync(fd)
  })

  test('a log that is gone stops nothing', () => {
    const fd = openSync(join(folder, 'gone'), 'w')
    closeSync(fd)
    const writer = new LineWriter(fd, () => undefined)
    writer.write('nobody reads this\n')
    expect(() => writer.flush()).not.toThrow()
  })
})

/** What is in the pipe now. */
function read(fd: number, buffer: Buffer): string {
  let text = ''
  try {
    for (;;) text += buffer.toString('latin1', 0, readSync(fd, buffer))
  } catch {
    return text
  }
}
