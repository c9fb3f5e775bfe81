import { type Document, isMap, isScalar, isSeq, parseAllDocuments } from 'yaml'
import { describeError } from '../../shared/runtime/errors.ts'
import { keyOf, type MeshObject, type ObjectRef, parseObject, refOf } from '../kinds/registry.ts'
import type { SourceProblem } from './events.ts'

/** What one file says. */
export interface ObjectFile {
  /** In the order of the file. */
  readonly claims: readonly Claim[]
  /** Objects of kinds the mesh does not use, by `apiVersion Kind`. */
  readonly unused: ReadonlyMap<string, number>
  readonly problems: readonly SourceProblem[]
  /** The text is not whole: `claims` stops before the fault. */
  readonly broken: boolean
}

/** The file names this object; without `object` what it says about it is invalid. */
export interface Claim {
  readonly key: string
  readonly ref: ObjectRef
  readonly object: MeshObject | undefined
  readonly document: number
}

const MOST_DOCUMENTS = 10_000
const MOST_ALIASES = 100
/** Lists may hold lists, but not for ever. */
const DEEPEST_LIST = 4

/** Reads YAML of several documents, or JSON; both may hold `List` objects, as `kubectl get -o yaml` prints them. */
export function parseObjectFile(file: string, text: string): ObjectFile {
  const reader = new Reader(file)
  if (file.endsWith('.json')) reader.readJson(text)
  else reader.readYaml(text)
  return reader
}

class Reader implements ObjectFile {
  readonly claims: Claim[] = []
  readonly unused = new Map<string, number>()
  readonly problems: SourceProblem[] = []
  broken = false
  readonly #file: string
  readonly #seen = new Set<string>()

  constructor(file: string) {
    this.#file = file
  }

  readJson(text: string): void {
    try {
      this.#readValue(JSON.parse(text), 1, '', 0)
    } catch (error) {
      this.#break(1, `not JSON: ${describeError(error)}`)
    }
  }

  readYaml(text: string): void {
    const documents = parseAllDocuments(text, { merge: true, logLevel: 'silent' })
    if (!Array.isArray(documents)) return
    if (documents.length > MOST_DOCUMENTS) {
      this.#break(undefined, `${documents.length} documents; at most ${MOST_DOCUMENTS} are read`)
      return
    }
    for (const [index, document] of documents.entries()) {
      const fault = document.errors[0]
      if (fault !== undefined) {
        this.#break(index + 1, fault.message.split('\n')[0] ?? 'not YAML')
        return
      }
      if (isEmpty(document)) continue
      let value: unknown
      try {
        value = document.toJS({ maxAliasCount: MOST_ALIASES })
      } catch (error) {
        this.#break(index + 1, describeError(error))
        return
      }
      this.#readValue(value, index + 1, '', 0)
    }
  }

  #readValue(value: unknown, document: number, path: string, depth: number): void {
    const items = itemsOf(value)
    if (items === undefined) {
      this.#readObject(value, document, path)
      return
    }
    if (depth === DEEPEST_LIST) {
      this.#complain(document, undefined, `${path}items`, 'lists are nested too deep')
      return
    }
    for (const [index, item] of items.entries()) {
      this.#readValue(item, document, `${path}items[${index}].`, depth + 1)
    }
  }

  #readObject(value: unknown, document: number, path: string): void {
    const parsed = parseObject(value)
    switch (parsed.outcome) {
      case 'unused':
        this.unused.set(parsed.type, (this.unused.get(parsed.type) ?? 0) + 1)
        return
      case 'object': {
        const ref = refOf(parsed.object)
        this.#claim({ key: keyOf(ref), ref, object: parsed.object, document })
        return
      }
      case 'invalid': {
        const key = parsed.ref === undefined ? undefined : keyOf(parsed.ref)
        for (const fault of parsed.faults) {
          this.#complain(document, key, path + fault.path, fault.reason)
        }
        if (parsed.ref === undefined || key === undefined) return
        this.#claim({ key, ref: parsed.ref, object: undefined, document })
      }
    }
  }

  #claim(claim: Claim): void {
    if (this.#seen.has(claim.key)) {
      this.#complain(
        claim.document,
        claim.key,
        undefined,
        'named twice in this file; the first is used',
      )
      return
    }
    this.#seen.add(claim.key)
    this.claims.push(claim)
  }

  #break(document: number | undefined, reason: string): void {
    this.broken = true
    this.#complain(document, undefined, undefined, reason)
  }

  #complain(
    document: number | undefined,
    object: string | undefined,
    path: string | undefined,
    reason: string,
  ): void {
    this.problems.push({ file: this.#file, document, object, path: path || undefined, reason })
  }
}

/** The items of a `List`, or of a list of one kind such as `PodList`. */
function itemsOf(value: unknown): unknown[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (!('kind' in value) || typeof value.kind !== 'string' || !value.kind.endsWith('List')) {
    return undefined
  }
  if (!('items' in value) || value.items === null) return []
  return Array.isArray(value.items) ? value.items : undefined
}

/** Nothing but comments, or an explicit null. */
function isEmpty(document: Document): boolean {
  const { contents } = document
  if (contents === null) return true
  if (isMap(contents) || isSeq(contents)) return false
  return isScalar(contents) && contents.value === null
}
