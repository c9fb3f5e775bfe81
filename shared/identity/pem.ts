import { malformed } from './der.ts'

/** No file or message of ours that holds PEM is longer. */
const MAX_LENGTH = 1024 * 1024

const BEGIN = '-----BEGIN '
const DASHES = '-----'

/**
 * The blocks with one of the labels, in order; other blocks and text between them are passed over. One pass by
 * `indexOf`, so hostile text costs no more than its length. Throws `X509_MALFORMED`.
 */
export function parsePem(text: string, labels: readonly string[]): Buffer[] {
  if (text.length > MAX_LENGTH) throw malformed('the PEM text is too long')
  const blocks: Buffer[] = []
  for (let from = text.indexOf(BEGIN); from >= 0; from = text.indexOf(BEGIN, from)) {
    const labelAt = from + BEGIN.length
    const labelEnd = text.indexOf(DASHES, labelAt)
    if (labelEnd < 0 || labelEnd - labelAt > 64) throw malformed('a PEM block begins wrongly')
    const label = text.slice(labelAt, labelEnd)
    const end = `-----END ${label}-----`
    const bodyAt = labelEnd + DASHES.length
    const bodyEnd = text.indexOf(end, bodyAt)
    if (bodyEnd < 0) throw malformed(`the PEM block ${JSON.stringify(label)} has no end`)
    if (labels.includes(label)) blocks.push(decode(text.slice(bodyAt, bodyEnd), label))
    from = bodyEnd + end.length
  }
  return blocks
}

/** Node's decoder skips what it does not understand; a block that would lose bytes is refused. */
function decode(body: string, label: string): Buffer {
  const packed = body.replaceAll(/\s/g, '')
  const bytes = Buffer.from(packed, 'base64')
  if (bytes.length === 0 || bytes.toString('base64') !== packed) {
    throw malformed(`the PEM block ${label} is not base64`)
  }
  return bytes
}

export function formatPem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
