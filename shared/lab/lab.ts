import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { AmbitError, codeOf } from '../runtime/errors.ts'

export type { LabProcess } from './lab-process.ts'

import { endProcessesIn, removeLab, removeLeftovers } from './leftovers.ts'
import { withMachineLock } from './machine-lock.ts'
import { type Addresses, Place } from './place.ts'
import { checkId, claim, type LabRecord, RECORDS } from './record.ts'
import * as wiring from './wiring.ts'

const PLACE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?$/
const MAX_UNIQUE = 99

export interface PodOptions {
  /** Others than the next free ones of the node; they must be of its subnets. */
  readonly addresses?: Addresses
}

/** A pod: a namespace on the bridge of its node, its link there named `link`. */
export type Pod = Place & {
  readonly node: LabNode
  readonly link: string
  /** Ends its processes and removes it; a removed pod's name and addresses can be used again. */
  remove(): Promise<void>
  /** The same name and addresses in a new namespace, without the processes. */
  recreate(): Promise<void>
}

/** A node: a namespace that routes for its pods. */
export type LabNode = Place & {
  /** From 1; the third number of its pods' addresses. */
  readonly index: number
  pod(name: string, options?: PodOptions): Promise<Pod>
}

/** A namespace beside the nodes. */
export type Machine = Place

/** A name for `ip netns exec` programs. */
export interface HostsEntry {
  readonly address: string
  readonly names: readonly string[]
}

/**
 * A simulated cluster of network namespaces. Everything it makes carries its prefix and has a recorded owner, this
 * process, so that the next one can tidy up after a crash and living labs are left alone. Needs root.
 */
export class Lab implements AsyncDisposable {
  readonly id: string
  /** Begins the name of each of its namespaces. */
  readonly prefix: string
  /** A folder for what the owner generates; removed with the lab. */
  readonly directory: string
  readonly #fabric: Place
  readonly #places = new Map<string, Place>()
  readonly #nodes: wiring.NumberedNode[] = []
  readonly #machines: Place[] = []
  #hosts: string | undefined
  /** Nodes and machines know each other, so they come one after the other. */
  #lastWiring: Promise<unknown> = Promise.resolve()
  readonly #podsInWork = new Set<Promise<void>>()
  #disposed: Promise<void> | undefined

  private constructor(id: string, { prefix }: LabRecord) {
    this.id = id
    this.prefix = prefix
    this.directory = join(RECORDS, id)
    this.#fabric = this.#newPlace(wiring.FABRIC, { address4: '', address6: '' })
  }

  /**
   * Makes an empty lab, named at random unless told. Leftovers of dead labs are removed before. Throws `LAB_TAKEN` if
   * one of that name has a living owner.
   */
  static async create(options: { readonly name?: string } = {}): Promise<Lab> {
    const id = checkId(options.name ?? `u${randomBytes(4).toString('hex')}`)
    return await Lab.#build(() => ({ id, record: claim(id) }))
  }

  /** The same under the first free name of `demo`, `demo2`, `demo3` and so on. */
  static async createUnique(name: string): Promise<Lab> {
    checkId(name)
    return await Lab.#build(() => {
      for (let number = 1; ; number++) {
        const id = checkId(number === 1 ? name : `${name}${number}`)
        try {
          return { id, record: claim(id) }
        } catch (error) {
          if (codeOf(error) !== 'LAB_TAKEN' || number === MAX_UNIQUE) throw error
        }
      }
    })
  }

  /** Removes what killed owners have left behind; gives the ids of those labs. */
  static async cleanLeftovers(): Promise<string[]> {
    return await withMachineLock(removeLeftovers)
  }

  static async #build(claimOne: () => { id: string; record: LabRecord }): Promise<Lab> {
    const { id, record } = await withMachineLock(async () => {
      await removeLeftovers()
      return claimOne()
    })
    const lab = new Lab(id, record)
    try {
      mkdirSync(lab.directory, { recursive: true, mode: 0o755 })
      await wiring.wireFabric(lab.#fabric)
      return lab
    } catch (error) {
      await lab.dispose()
      throw error
    }
  }

  /** Makes a node. Throws `LAB_NAME` for a name that is in use or cannot be one, `LAB_FULL` beyond 99. */
  async node(name: string): Promise<LabNode> {
    const index = this.#nodes.length + 1
    if (index > wiring.MAX_NODES) throw new AmbitError('LAB_FULL', 'a lab has at most 99 nodes')
    const place = this.#newPlace(name, wiring.nodeAddresses(index))
    const numbered = { index, place }
    this.#nodes.push(numbered)
    const nodes = () => this.#nodes.filter((node) => node.index < index)
    await this.#inTurn(() =>
      wiring.wireNode(this.#fabric, numbered, nodes(), this.#machines.filter(isAttached)),
    )
    let nextPod = wiring.FIRST_POD
    const node: LabNode = Object.assign(place, {
      index,
      pod: async (podName: string, options: PodOptions = {}): Promise<Pod> => {
        if (options.addresses === undefined && nextPod > wiring.MAX_POD) {
          throw new AmbitError('LAB_FULL', `${name}: no pod address is left`)
        }
        const addresses = options.addresses ?? wiring.podAddresses(index, nextPod++)
        return await this.#pod(node, podName, addresses)
      },
    })
    return node
  }

  /** Makes a place beside the nodes: the control plane's, or a client's from outside. It reaches every pod. */
  async machine(name: string): Promise<Machine> {
    const number = this.#machines.length
    if (number >= wiring.MAX_MACHINES)
      throw new AmbitError('LAB_FULL', 'a lab has at most 99 machines')
    const place = this.#newPlace(name, wiring.machineAddresses(number))
    this.#machines.push(place)
    await this.#inTurn(() =>
      wiring.wireMachine(
        this.#fabric,
        place,
        this.#nodes.filter((node) => isAttached(node.place)),
      ),
    )
    return place
  }

  /** What `/etc/hosts` says from now on to programs started with `hosts`, in all places, present and future. */
  hosts(entries: readonly HostsEntry[]): void {
    const lines = entries.map(({ address, names }) => `${address} ${names.join(' ')}`)
    this.#hosts = `${['127.0.0.1 localhost', '::1 localhost', ...lines].join('\n')}\n`
    for (const place of this.#places.values()) place.writeHosts(this.#hosts)
  }

  /** Ends all processes inside and removes everything. Safe to repeat. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#remove()
    return this.#disposed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  async #remove(): Promise<void> {
    await this.#lastWiring
    await Promise.allSettled(this.#podsInWork)
    for (const place of this.#places.values()) place.detach()
    await removeLab(this.id, this.prefix)
  }

  async #pod(node: LabNode, name: string, addresses: Addresses): Promise<Pod> {
    const place = this.#newPlace(name, addresses)
    const numbered = { index: node.index, place: node }
    const make = async (): Promise<void> => {
      await wiring.wirePod(numbered, place)
      if (this.#hosts !== undefined) place.writeHosts(this.#hosts)
    }
    const unmake = async (): Promise<void> => {
      await endProcessesIn([place.namespacePath])
      place.detach()
      await wiring.unwirePod(numbered, place)
    }
    await this.#tracked(make)
    return Object.assign(place, {
      node,
      link: wiring.podLinkName(name),
      remove: async () => {
        await this.#tracked(unmake)
        place.forgetHosts()
        this.#places.delete(name)
      },
      recreate: async () => {
        await this.#tracked(async () => {
          await unmake()
          await make()
        })
      },
    })
  }

  #newPlace(name: string, addresses: Addresses): Place {
    this.#checkAlive()
    if (!PLACE_NAME.test(name)) {
      throw new AmbitError('LAB_NAME', `'${name}': use up to 50 of a-z, 0-9 and inner dashes`)
    }
    if (this.#places.has(name))
      throw new AmbitError('LAB_NAME', `'${name}' is in use in lab ${this.id}`)
    const place = new Place(this.prefix, name, addresses)
    this.#places.set(name, place)
    return place
  }

  /** A pod that is being made must not appear after everything was removed. */
  async #tracked(work: () => Promise<void>): Promise<void> {
    this.#checkAlive()
    const running = work()
    this.#podsInWork.add(running)
    await running.finally(() => this.#podsInWork.delete(running))
  }

  async #inTurn(wire: () => Promise<void>): Promise<void> {
    const turn = this.#lastWiring.then(wire)
    this.#lastWiring = turn.catch(() => undefined)
    await turn
  }

  #checkAlive(): void {
    if (this.#disposed !== undefined)
      throw new AmbitError('LAB_REMOVED', `lab ${this.id} is removed`)
  }
}

/** Whether its namespace exists by now. */
function isAttached(place: Place): boolean {
  try {
    return place.namespace.key !== ''
  } catch {
    return false
  }
}
