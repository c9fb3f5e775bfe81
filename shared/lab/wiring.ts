import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { ipBatch, ipHost, shell } from './command.ts'
import type { Addresses, Place } from './place.ts'

/**
 * How the places of a lab are joined: one bridge for the nodes and machines (the fabric), one bridge per node for
 * its pods, and routing between them. No link is ever in the host's namespace, not even for a moment.
 */

export const FABRIC = 'fabric'
const FABRIC_BRIDGE = 'fabric'
/** The bridge of a node that its pods are on. */
const POD_BRIDGE = 'pods'

export const MAX_NODES = 99
export const MAX_MACHINES = 99
const FIRST_MACHINE = 100
/** The first address of a pod subnet is the node's own. */
export const FIRST_POD = 2
export const MAX_POD = 254

export const nodeAddresses = (node: number): Addresses => ({
  address4: `10.99.0.${node}`,
  address6: `fd99::${node.toString(16)}`,
})

export const machineAddresses = (machine: number): Addresses =>
  nodeAddresses(FIRST_MACHINE + machine)

export const podAddresses = (node: number, pod: number): Addresses => ({
  address4: `10.244.${node}.${pod}`,
  address6: `fd00:244:${node}::${pod.toString(16)}`,
})

/** The subnets of a node's pods. */
export const podSubnets = (node: number): readonly [string, string] => [
  `10.244.${node}.0/24`,
  `fd00:244:${node}::/64`,
]

/** A node by number with its place. */
export interface NumberedNode {
  readonly index: number
  readonly place: Place
}

/** The name of a pod's link on its node; at most 15 characters, as the kernel wants. */
export function podLinkName(pod: string): string {
  if (pod.length <= 13) return `p-${pod}`
  return `p-${pod.slice(0, 6)}-${createHash('sha256').update(pod).digest('hex').slice(0, 6)}`
}

export async function wireFabric(fabric: Place): Promise<void> {
  await makeNamespace(fabric, false)
  await shell(
    ipBatch(fabric.namespaceName, [
      `link add ${FABRIC_BRIDGE} type bridge`,
      `link set ${FABRIC_BRIDGE} up`,
    ]),
  )
}

/** A node with its uplink and its pod bridge, reachable from and reaching all others. */
export async function wireNode(
  fabric: Place,
  { place, index }: NumberedNode,
  nodes: readonly NumberedNode[],
  machines: readonly Place[],
): Promise<void> {
  await makeNamespace(place, true)
  const gateway = podAddresses(index, 1)
  const others = nodes.filter((node) => node.index !== index)
  await shell(
    uplink(fabric, place) +
      ipBatch(place.namespaceName, [
        `link add ${POD_BRIDGE} address ${macOf(gateway.address4)} type bridge`,
        `link set ${POD_BRIDGE} up`,
        ...addressLines(POD_BRIDGE, gateway),
        ...others.flatMap(routesTo),
      ]) +
      [...others.map((node) => node.place), ...machines]
        .map((one) => ipBatch(one.namespaceName, routesTo({ place, index })))
        .join(''),
  )
}

/** A place beside the nodes. */
export async function wireMachine(
  fabric: Place,
  machine: Place,
  nodes: readonly NumberedNode[],
): Promise<void> {
  await makeNamespace(machine, false)
  await shell(uplink(fabric, machine) + ipBatch(machine.namespaceName, nodes.flatMap(routesTo)))
}

export async function wirePod(node: NumberedNode, pod: Place): Promise<void> {
  await makeNamespace(pod, false)
  const link = podLinkName(pod.name)
  const gateway = podAddresses(node.index, 1)
  await shell(
    ipBatch(node.place.namespaceName, [
      pairLine(link, pod),
      `link set ${link} master ${POD_BRIDGE} up`,
    ]) +
      ipBatch(pod.namespaceName, [
        'link set eth0 up',
        ...addressLines('eth0', pod),
        `route add default via ${gateway.address4}`,
        `route add default via ${gateway.address6}`,
      ]),
  )
}

/** Takes the link away first: the kernel removes the links of a deleted namespace some time later. */
export async function unwirePod(node: NumberedNode, pod: Place): Promise<void> {
  const link = podLinkName(pod.name)
  await shell(`
    # A test may have taken the link away before.
    ip -n ${node.place.namespaceName} link delete ${link} 2>/dev/null || :
    ip netns delete ${pod.namespaceName}
  `)
}

async function makeNamespace(place: Place, forwarding: boolean): Promise<void> {
  await ipHost([`netns add ${place.namespaceName}`])
  place.attach()
  place.namespace.run(() => {
    // Addresses are ours to give, so nobody waits for duplicates to be detected.
    setting('ipv6/conf/default/accept_dad', 0)
    setting('ipv6/conf/default/accept_ra', 0)
    // Otherwise taken from the host, and the lab would differ from machine to machine.
    setting('ipv4/conf/all/rp_filter', 0)
    setting('ipv4/conf/default/rp_filter', 0)
    if (!forwarding) return
    setting('ipv4/ip_forward', 1)
    setting('ipv6/conf/all/forwarding', 1)
  })
  await shell(ipBatch(place.namespaceName, ['link set lo up']))
}

const setting = (name: string, value: number): void =>
  writeFileSync(`/proc/sys/net/${name}`, String(value))

function uplink(fabric: Place, place: Place): string {
  const link = `f${place.address4.slice(place.address4.lastIndexOf('.') + 1)}`
  return (
    ipBatch(fabric.namespaceName, [
      pairLine(link, place),
      `link set ${link} master ${FABRIC_BRIDGE} up`,
    ]) + ipBatch(place.namespaceName, ['link set eth0 up', ...addressLines('eth0', place)])
  )
}

const pairLine = (link: string, place: Place): string =>
  `link add ${link} type veth peer name eth0 address ${macOf(place.address4)} netns ${place.namespaceName}`

const addressLines = (link: string, { address4, address6 }: Addresses): readonly string[] => [
  `addr add ${address4}/24 dev ${link}`,
  `addr add ${address6}/64 dev ${link} nodad`,
]

function routesTo({ index, place }: NumberedNode): readonly string[] {
  const [subnet4, subnet6] = podSubnets(index)
  return [
    `route add ${subnet4} via ${place.address4}`,
    `route add ${subnet6} via ${place.address6}`,
  ]
}

/** From the address, so that a pod that is made anew is found at once by neighbours that remember it. */
const macOf = (address4: string): string =>
  [
    '02',
    '00',
    ...address4.split('.').map((part) => Number(part).toString(16).padStart(2, '0')),
  ].join(':')
