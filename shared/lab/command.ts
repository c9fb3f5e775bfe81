import { spawn } from 'node:child_process'
import { AmbitError, describeError } from '../runtime/errors.ts'

const OUTPUT_LIMIT = 16_384
const TIMEOUT_MS = 20_000

/** Runs a shell script in the host's namespace; throws `LAB_COMMAND` with what it printed unless it succeeds. */
export function shell(script: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('sh', ['-eu'], {
      stdio: ['pipe', 'ignore', 'pipe'],
      timeout: TIMEOUT_MS,
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    })
    let output = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (output.length < OUTPUT_LIMIT) output += text
    })
    child.once('error', (error) =>
      reject(new AmbitError('LAB_COMMAND', describeError(error), { cause: error })),
    )
    child.once('close', (code, signal) => {
      if (code === 0) resolve()
      else reject(new AmbitError('LAB_COMMAND', `${output.trim()} (${signal ?? `code ${code}`})`))
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(script)
  })
}

/** Shell text that gives all `lines` to one `ip` process inside a namespace. */
export function ipBatch(namespace: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `ip -n ${namespace} -batch - <<'END'\n${lines.join('\n')}\nEND\n`
}

/** Gives all `lines` to one `ip` process outside; throws `LAB_COMMAND` if one fails. */
export async function ipHost(lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await shell(`ip -batch - <<'END'\n${lines.join('\n')}\nEND\n`)
}
