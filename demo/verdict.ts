/** What a check saw, in words, and whether that is right. */
export interface Verdict {
  readonly ok: boolean
  readonly seen: string
}

export const passed = (seen: string): Verdict => ({ ok: true, seen })
export const failed = (seen: string): Verdict => ({ ok: false, seen })
