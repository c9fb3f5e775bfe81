import type { Clock } from '../shared/runtime/clock.ts'
import { tableLines } from './link-table.ts'
import { type Pair, pairsOf } from './links.ts'
import { NODES } from './placement.ts'
import { Rates } from './rates.ts'
import type { RunningShop } from './running-shop.ts'
import type { ScreenLine } from './screen.ts'

/** What is to be shown of a shop at one moment; it remembers what the rates need. */
export class LiveView {
  readonly #shop: RunningShop
  readonly #clock: Clock
  readonly #startedMs: number
  readonly #connections = new Rates()
  readonly #denials = new Rates()
  #pairs: readonly Pair[] = []

  constructor(shop: RunningShop, clock: Clock) {
    this.#shop = shop
    this.#clock = clock
    this.#startedMs = clock.monotonicMs()
  }

  /** Asks the ztunnels. */
  async refresh(): Promise<void> {
    this.#pairs = pairsOf(await this.#shop.links())
    const now = this.#clock.monotonicMs()
    const totals = (of: (pair: Pair) => number) =>
      new Map(this.#pairs.map((pair) => [keyOf(pair), of(pair)]))
    this.#connections.update(
      now,
      totals((pair) => pair.total),
    )
    this.#denials.update(
      now,
      totals((pair) => pair.denied),
    )
  }

  get controlPlaneRuns(): boolean {
    return this.#shop.mesh.controlPlane.exit === undefined
  }

  picture(): readonly ScreenLine[] {
    return [
      { tone: 'title', text: `ambit demo: a service mesh on this machine, up ${this.#upText()}` },
      ...this.#statusLines(),
      { text: '', rank: 1 },
      ...this.#tableLines(),
      { text: '', rank: 1 },
      {
        tone: 'note',
        rank: 1,
        text: 'namespace/account is an identity proven by mutual TLS; a pod or address alone proves nothing.',
      },
      {
        tone: 'note',
        rank: 2,
        text: 'set-up: accepted until connected to the callee. 1st byte: accepted until the first byte back. Last 30 to 60 s.',
      },
      { text: '', rank: 1 },
      ...this.tryLines(),
    ]
  }

  /** For a log instead of a terminal. */
  line(): string {
    const sum = (of: (pair: Pair) => number): number =>
      this.#pairs.reduce((total, pair) => total + of(pair), 0)
    const plain = sum((pair) => (pair.security === 'plaintext' ? pair.total : 0))
    const total = sum((pair) => pair.total)
    return [
      `up ${this.#upText()}`,
      `control plane ${this.controlPlaneRuns ? 'running' : 'stopped'}`,
      `${this.#pairs.length} pairs`,
      `${total - plain} connections by mTLS, ${plain} plaintext`,
      `${sum((pair) => pair.open)} open`,
      `${sum((pair) => pair.denied)} denied`,
    ].join(', ')
  }

  tryLines(): readonly ScreenLine[] {
    const { things, mesh } = this.#shop
    const pid = mesh.controlPlane.pid ?? 0
    return [
      { tone: 'title', text: 'Try in another terminal:' },
      {
        text: '1. Call payments from the frontend pod; it sees the address of the caller, not of a proxy:',
      },
      { tone: 'command', text: `   ${things.call}` },
      {
        text: '2. Let only orders call payments, by the command or an editor; saving denies the others:',
      },
      { tone: 'command', text: `   ${things.onlyOrders}` },
      { tone: 'note', text: `   and back: ${things.everyoneAgain}` },
      { text: '3. Stop the control plane; traffic goes on:' },
      this.controlPlaneRuns
        ? { tone: 'command', text: `   kill ${pid}` }
        : { tone: 'note', text: '   done; edits as in 2 would now wait for it to come back' },
      { text: '', rank: 1 },
      { tone: 'note', text: 'Ctrl-C ends it and removes everything.' },
    ]
  }

  #statusLines(): readonly ScreenLine[] {
    const { mesh, pods, meshPods } = this.#shop
    const { controlPlane } = mesh
    const nodes = NODES.map((node) => {
      const { exit, pid } = mesh.ztunnel(node)
      return `ztunnel ${node}: ${exit === undefined ? `running (pid ${pid})` : 'stopped, its pods are cut off'}`
    })
    const counted = `${pods.length} pods, ${meshPods.length} of them in the mesh`
    const lines: ScreenLine[] = [{ text: [...nodes, counted].join('   ') }]
    const control: ScreenLine = this.controlPlaneRuns
      ? { text: `control plane: running (pid ${controlPlane.pid})` }
      : {
          tone: 'alarm',
          text: 'control plane: stopped; traffic goes on, by what the ztunnels know and the certificates they hold',
        }
    return [control, ...lines]
  }

  #tableLines(): readonly ScreenLine[] {
    if (this.#pairs.length === 0)
      return [{ tone: 'note', text: 'waiting for the first connections' }]
    return tableLines(
      this.#pairs.map((pair) => ({
        ...pair,
        perSecond: this.#connections.perSecond(keyOf(pair)),
        deniedNow: (this.#denials.perSecond(keyOf(pair)) ?? 0) > 0,
      })),
    )
  }

  #upText(): string {
    const seconds = Math.floor((this.#clock.monotonicMs() - this.#startedMs) / 1_000)
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
  }
}

const keyOf = (pair: Pair): string => [pair.caller, pair.callee, pair.security].join('\n')
