import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createFile, readPrivateFile, readText } from './private-files.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambit-files-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

test('a file is written once: of two writers the first wins, and both learn what is there', () => {
  const path = join(directory, 'key')
  expect(createFile(path, 'first', 0o600)).toBe('first')
  expect(createFile(path, 'second', 0o600)).toBe('first')
  expect(readFileSync(path, 'utf8')).toBe('first')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readdirSync(directory)).toEqual(['key'])
})

test('a missing file is not an error, an unreadable one is', () => {
  expect(readPrivateFile(join(directory, 'none'))).toBeUndefined()
  expect(() => readText(directory)).toThrow(expect.objectContaining({ code: 'STATE_FILE' }))
  expect(() => createFile(join(directory, 'no', 'such'), '', 0o600)).toThrow(
    expect.objectContaining({ code: 'STATE_FILE' }),
  )
})
