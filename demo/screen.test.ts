import { expect, test } from 'vitest'
import { Screen, type Terminal } from './screen.ts'

function terminal(size: Pick<Terminal, 'columns' | 'rows'>) {
  const written: string[] = []
  return { written, ...size, write: (text: string) => written.push(text) }
}

const escapes = new RegExp(`${String.fromCharCode(27)}\\[[?0-9;]*[A-Za-z]`, 'g')
const textOf = (written: string): string => written.replaceAll(escapes, '')

test('draws over the last picture without clearing it, and gives the terminal back once', () => {
  const tty = terminal({ columns: 80, rows: 24 })
  const screen = new Screen(tty, false)
  screen.draw([{ text: 'one' }, { text: 'two' }])
  screen.draw([{ text: 'three' }])
  expect(tty.written[0]).toContain('\x1b[?25l')
  expect(tty.written[1]).not.toContain('\x1b[?25l')
  expect(tty.written.join('')).not.toContain('\x1b[2J')
  expect(textOf(tty.written[1] ?? '')).toBe('three')
  screen[Symbol.dispose]()
  screen[Symbol.dispose]()
  expect(tty.written.slice(2)).toEqual(['\x1b[?25h\x1b[?1049l'])
})

test('a terminal that was never drawn on is left alone', () => {
  const tty = terminal({ columns: 80, rows: 24 })
  new Screen(tty, false)[Symbol.dispose]()
  expect(tty.written).toEqual([])
})

test('on a low terminal the notes go first, and long lines are cut', () => {
  const tty = terminal({ columns: 10, rows: 3 })
  const lines = [
    { text: 'title' },
    { text: 'small print', rank: 2 },
    { text: 'a line that is too long' },
    { text: 'less small', rank: 1 },
    { text: 'end' },
  ]
  new Screen(tty, false).draw(lines)
  expect(textOf(tty.written[0] ?? '').split('\r\n')).toEqual(['title', 'a line th…', 'end'])
})

test('colours only when asked for', () => {
  const [plain, coloured] = [terminal({}), terminal({})]
  new Screen(plain, false).draw([{ text: 'x', tone: 'denied' }])
  new Screen(coloured, true).draw([{ text: 'x', tone: 'denied' }])
  expect(plain.written[0]).not.toContain('\x1b[31m')
  expect(coloured.written[0]).toContain('\x1b[31m')
})
