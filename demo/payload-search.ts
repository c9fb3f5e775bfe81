/** Bytes that begin a comparison. */
const GRAM = 4

/**
 * Looks for pieces of a payload in other bytes: every run of at least `window` bytes that is part of the payload is
 * found. Only each n-th place of the payload is indexed, so close together that no run can miss them all.
 */
export class PayloadSearch {
  readonly #payload: Buffer
  readonly #window: number
  readonly #places = new Map<number, number[]>()

  /** `window` is at least 4. */
  constructor(payload: Buffer, window = 12) {
    this.#payload = payload
    this.#window = window
    const step = window - GRAM + 1
    for (let at = 0; at + GRAM <= payload.length; at += step) {
      const gram = payload.readUInt32LE(at)
      const places = this.#places.get(gram)
      if (places === undefined) this.#places.set(gram, [at])
      else places.push(at)
    }
  }

  /** Whether `bytes` hold `window` successive bytes of the payload. */
  foundIn(bytes: Buffer): boolean {
    for (let at = 0; at + GRAM <= bytes.length; at++) {
      const places = this.#places.get(bytes.readUInt32LE(at))
      if (places?.some((place) => this.#runAt(bytes, at, place) >= this.#window) === true)
        return true
    }
    return false
  }

  /** The length of the common run around a common place. */
  #runAt(bytes: Buffer, at: number, place: number): number {
    const payload = this.#payload
    let before = 0
    while (before < Math.min(at, place) && bytes[at - before - 1] === payload[place - before - 1]) {
      before++
    }
    let after = 0
    while (
      after < Math.min(bytes.length - at, payload.length - place) &&
      bytes[at + after] === payload[place + after]
    ) {
      after++
    }
    return before + after
  }
}
