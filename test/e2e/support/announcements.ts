import { setTimeout as sleep } from 'node:timers/promises'
import type { LabMesh, MeshPod } from '../../../shared/lab/mesh.ts'

const LOOK_MS = 20

interface Look {
  readonly began: number
  readonly ended: number
  readonly everywhereHbone: boolean
}

/** A time span on the scale of `performance.now()`. */
export interface Span {
  readonly from: number
  readonly to: number
}

/**
 * Looks again and again at how the ztunnels of all nodes know a pod. `stop` ends it and gives the spans in which the
 * pod was certainly known as HBONE on every node: from the end of the first look that says so to the beginning of the
 * last one.
 */
export function watchAnnouncements(mesh: LabMesh, pod: MeshPod, nodes: readonly string[]) {
  const looks: Look[] = []
  const stopped = new AbortController()
  const look = async (): Promise<void> => {
    const began = performance.now()
    const known = await Promise.all(nodes.map((node) => mesh.workloads(node)))
    const everywhereHbone = known.every((workloads) =>
      workloads.some(({ uid, protocol }) => uid === pod.uid && protocol === 'HBONE'),
    )
    looks.push({ began, ended: performance.now(), everywhereHbone })
  }
  const running = (async () => {
    while (!stopped.signal.aborted) {
      await look()
      await sleep(LOOK_MS)
    }
  })()
  return {
    async stop(): Promise<readonly Span[]> {
      stopped.abort()
      await running
      return spansOf(looks)
    },
  }
}

function spansOf(looks: readonly Look[]): readonly Span[] {
  const spans: Span[] = []
  let from: number | undefined
  let to = 0
  for (const { began, ended, everywhereHbone } of looks) {
    if (everywhereHbone) {
      from ??= ended
      to = began
    } else if (from !== undefined) {
      if (to > from) spans.push({ from, to })
      from = undefined
    }
  }
  if (from !== undefined && to > from) spans.push({ from, to })
  return spans
}
