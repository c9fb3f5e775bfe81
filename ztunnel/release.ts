import { connect } from 'node:net'
import type { NetworkNamespace } from '../shared/linux/namespace.ts'
import { MeshStore } from '../shared/mesh/store.ts'
import { systemClock } from '../shared/runtime/clock.ts'
import { AmbitError } from '../shared/runtime/errors.ts'
import { keepAlive, settled } from '../shared/runtime/lifecycle.ts'
import type { Log } from '../shared/runtime/log.ts'
import { DeltaClient } from '../shared/xds/delta-client.ts'
import { ztunnelNode } from '../shared/xds/node-identity.ts'
import { isCapturedBy, removeCapture } from './capture/redirect.ts'
import { ADDRESS_TYPE } from './control.ts'
import { NamespaceFinder } from './enroll/namespace-finder.ts'
import { NodeAgentClient } from './enroll/node-agent-client.ts'
import type { ZtunnelSettings } from './settings.ts'

/** How long the control plane may take to announce the pods as plain. */
const ANNOUNCE_MS = 10_000

/**
 * `--release`: takes this node's pods out of the mesh on purpose. First the control plane announces them as plain, so
 * that no peer expects HBONE where none is; then the capture rules go. Without a control plane the rules go all the
 * same, after a warning: peers then refuse to talk to these pods until they learn of it. Rejects with
 * `RELEASE_RUNNING` while a ztunnel serves the node, which would capture them again.
 */
export async function releaseNode(settings: ZtunnelSettings, log: Log): Promise<void> {
  if (await isServed(settings.adminPort)) {
    throw new AmbitError(
      'RELEASE_RUNNING',
      `a ztunnel is running on this node (admin port ${settings.adminPort}): stop it first`,
    )
  }
  using _alive = keepAlive()
  using finder = new NamespaceFinder({ scope: settings.netnsScope, clock: systemClock, log })
  finder.scan()
  if (!(await announcedAsPlain(settings, log))) {
    log.warn('the control plane did not announce the release in time; rules are removed anyway')
  }
  let released = 0
  for (const [name, netns] of finder.namespaces()) {
    if (await removeRules(netns, settings.node)) {
      released++
      log.info('released', { namespace: name })
    }
  }
  log.info('node released', { node: settings.node, pods: released })
}

async function removeRules(netns: NetworkNamespace, node: string): Promise<boolean> {
  if (!(await isCapturedBy(netns, node))) return false
  await removeCapture(netns)
  return true
}

async function announcedAsPlain(settings: ZtunnelSettings, log: Log): Promise<boolean> {
  const mesh = new MeshStore()
  const endpoint = {
    address: settings.xdsAddress,
    rootFile: settings.caRoot,
    tokenFile: settings.token,
    clusterId: settings.clusterId,
    clock: systemClock,
    log,
  }
  await using xds = new DeltaClient({
    ...endpoint,
    node: ztunnelNode(settings),
    types: [
      {
        typeUrl: ADDRESS_TYPE,
        apply: ({ upserts, removed }) => mesh.applyAddresses(upserts, removed),
      },
    ],
  })
  let ours: readonly string[] | undefined
  const informed = new EventTarget()
  await using agent = new NodeAgentClient({
    ...endpoint,
    node: settings.node,
    leaving: true,
    onPods: (pods, _removed, snapshot) => {
      if (!snapshot) return
      ours = pods.map((pod) => pod.uid)
      for (const uid of ours) agent.report(uid, 'released')
      informed.dispatchEvent(new Event('pods'))
    },
  })
  const isPlain = (): boolean =>
    xds.isReady &&
    ours !== undefined &&
    ours.every((uid) => mesh.workloadByUid(uid)?.tunnelProtocol !== 'HBONE')
  await xds.start()
  await agent.start()
  await settled(
    isPlain,
    (listener) => {
      informed.addEventListener('pods', listener)
      const stop = mesh.onChange(listener)
      void xds.ready.then(listener)
      return stop
    },
    AbortSignal.timeout(ANNOUNCE_MS),
  )
  return isPlain()
}

/** Whether something answers at the admin port. */
function isServed(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const answer = (served: boolean) => (): void => {
      socket.destroy()
      resolve(served)
    }
    socket.once('connect', answer(true))
    socket.once('error', answer(false))
    socket.setTimeout(2_000, answer(false))
  })
}
