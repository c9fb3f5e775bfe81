import { extname } from 'node:path'
import { CaClient } from '../shared/identity/ca-client.ts'
import { CertificateManager } from '../shared/identity/certificate-manager.ts'
import { descriptorLimit, openDescriptors } from '../shared/linux/descriptors.ts'
import { type Clock, systemClock } from '../shared/runtime/clock.ts'
import { HttpEndpoint } from '../shared/runtime/http-endpoint.ts'
import { run } from '../shared/runtime/lifecycle.ts'
import { createLog, type Log } from '../shared/runtime/log.ts'
import { packageVersion } from '../shared/runtime/version.ts'
import { type CaptureMetrics, createCaptureMetrics } from '../shared/telemetry/capture-metrics.ts'
import { Metrics, metricsRoutes } from '../shared/telemetry/metrics.ts'
import { declareProcessMetrics } from '../shared/telemetry/process-metrics.ts'
import { createAdmin } from './admin.ts'
import { DescriptorBudget } from './capture/descriptor-budget.ts'
import { subscribe } from './control.ts'
import { DataPlane } from './data-plane/data-plane.ts'
import { MeshSource } from './data-plane/mesh-source.ts'
import { Enrollment } from './enroll/enrollment.ts'
import { NamespaceFinder } from './enroll/namespace-finder.ts'
import { PodProxy } from './pod-proxy.ts'
import { createReadiness } from './readiness.ts'
import { releaseNode } from './release.ts'
import type { ZtunnelSettings } from './settings.ts'

/** Descriptors that pods never take: workers, control plane, certificates, admin, logs. */
const RESERVED_DESCRIPTORS = 256

/** Runs the node proxy until it is told to stop. Rejects if it cannot start. */
export async function runZtunnel(settings: ZtunnelSettings): Promise<void> {
  const log = createLog({ level: settings.logLevel, format: settings.logFormat }).child('ztunnel')
  if (settings.release) {
    await releaseNode(settings, log)
    return
  }
  const clock = systemClock
  const stop = new AbortController()
  const metrics = new Metrics()
  declareProcessMetrics(metrics, { component: 'ztunnel', version: packageVersion() })
  const mesh = new MeshSource()
  const certificates = new CertificateManager({
    source: caClient(settings, clock, log),
    clock,
    log,
  })
  const captures = createCaptureMetrics(metrics)
  const dataPlane = dataPlaneOf({ settings, mesh, certificates, metrics, captures, clock, log })
  const enrollment = new Enrollment({
    finder: new NamespaceFinder({ scope: settings.netnsScope, clock, log }),
    mesh: mesh.store,
    clock,
    log,
    metrics: captures,
    makeProxy: (subject) => new PodProxy({ dataPlane, clock, node: settings.node }, subject),
  })
  const control = subscribe({ settings, mesh, enrollment, metrics, clock, log })
  const endpoint = { log, host: '::' }
  const components = [
    certificates,
    enrollment,
    ...control.components,
    createAdmin({
      port: settings.adminPort,
      mesh: mesh.store,
      certificates,
      enrollment,
      dataPlane,
      config: { ...settings },
      log,
      quit: () => stop.abort(),
    }),
    new HttpEndpoint({
      ...endpoint,
      name: 'stats',
      port: settings.statsPort,
      routes: metricsRoutes(() => dataPlane.exposition()),
    }),
    createReadiness({ port: settings.readinessPort, log, pending: control.pending }),
    // Last, for its workers take their time: meanwhile the control plane is asked what there is to do.
    dataPlane,
  ]
  await run(components, {
    log,
    drainMs: settings.drainMs,
    stop: stop.signal,
    stopAccepting: () => enrollment.stopAccepting(),
  })
}

interface DataPlaneParts {
  readonly settings: ZtunnelSettings
  readonly mesh: MeshSource
  readonly certificates: CertificateManager
  readonly metrics: Metrics
  readonly captures: CaptureMetrics
  readonly clock: Clock
  readonly log: Log
}

function dataPlaneOf({ settings, captures, ...parts }: DataPlaneParts): DataPlane {
  const { threads, network, node, poolIdleMs } = settings
  const room = descriptorLimit() - openDescriptors() - RESERVED_DESCRIPTORS
  const limit = Math.min(Math.max(room, 128), 1_000_000)
  return new DataPlane({
    ...parts,
    threads,
    // The worker stands beside this file, whether the sources run or what was built from them.
    program: new URL(`./worker${extname(import.meta.url)}`, import.meta.url),
    settings: { network, node, poolIdleMs },
    logFormat: settings.logFormat,
    budget: DescriptorBudget.of(limit, threads + 1),
    onLimit: () => captures.paused(),
  })
}

const caClient = (settings: ZtunnelSettings, clock: Clock, log: Log): CaClient =>
  new CaClient({
    address: settings.caAddress || settings.xdsAddress,
    rootFile: settings.caRoot,
    tokenFile: settings.token,
    clusterId: settings.clusterId,
    ttlSeconds: Math.round(settings.secretTtlMs / 1000),
    clock,
    log,
  })
