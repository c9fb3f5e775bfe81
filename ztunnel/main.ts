import { CaClient } from '../shared/identity/ca-client.ts'
import { CertificateManager } from '../shared/identity/certificate-manager.ts'
import { descriptorLimit, openDescriptors } from '../shared/linux/descriptors.ts'
import { MeshStore } from '../shared/mesh/store.ts'
import { type Clock, systemClock } from '../shared/runtime/clock.ts'
import { HttpEndpoint } from '../shared/runtime/http-endpoint.ts'
import { run } from '../shared/runtime/lifecycle.ts'
import { createLog, type Log } from '../shared/runtime/log.ts'
import { packageVersion } from '../shared/runtime/version.ts'
import { type CaptureMetrics, createCaptureMetrics } from '../shared/telemetry/capture-metrics.ts'
import { Metrics } from '../shared/telemetry/metrics.ts'
import { declareProcessMetrics } from '../shared/telemetry/process-metrics.ts'
import { createTelemetry, type Telemetry } from '../shared/telemetry/recorder.ts'
import { createAdmin } from './admin.ts'
import { DescriptorGate } from './capture/descriptor-gate.ts'
import { subscribe } from './control.ts'
import { Enrollment } from './enroll/enrollment.ts'
import { NamespaceFinder } from './enroll/namespace-finder.ts'
import { PodProxy } from './pod-proxy.ts'
import { createReadiness } from './readiness.ts'
import { releaseNode } from './release.ts'
import type { ZtunnelSettings } from './settings.ts'

/** Descriptors that captured connections never take: control plane, certificates, admin, listeners, logs. */
const RESERVED_DESCRIPTORS = 512

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
  const telemetry = createTelemetry({ metrics, log, clock })
  const mesh = new MeshStore()
  const certificates = new CertificateManager({
    source: caClient(settings, clock, log),
    clock,
    log,
  })
  const enrollment = enrollmentOf({ settings, mesh, certificates, telemetry, metrics, clock, log })
  const control = subscribe({ settings, mesh, enrollment, metrics, clock, log })
  const endpoint = { log, host: '::' }
  const components = [
    certificates,
    enrollment,
    ...control.components,
    createAdmin({
      port: settings.adminPort,
      mesh,
      certificates,
      enrollment,
      links: telemetry.links.route(),
      config: { ...settings },
      log,
      quit: () => stop.abort(),
    }),
    new HttpEndpoint({
      ...endpoint,
      name: 'stats',
      port: settings.statsPort,
      routes: metrics.routes(),
    }),
    createReadiness({ port: settings.readinessPort, log, pending: control.pending }),
  ]
  await run(components, { log, drainMs: settings.drainMs, stop: stop.signal })
}

interface EnrollmentParts {
  readonly settings: ZtunnelSettings
  readonly mesh: MeshStore
  readonly certificates: CertificateManager
  readonly telemetry: Telemetry
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
}

function enrollmentOf(parts: EnrollmentParts): Enrollment {
  const { settings, mesh, certificates, telemetry, metrics, clock, log } = parts
  const captures = createCaptureMetrics(metrics)
  const gate = gateOf(() => enrollment.proxies(), captures, log)
  const { network, poolIdleMs } = settings
  const node = { network, node: settings.node, poolIdleMs }
  const context = { mesh, certificates, telemetry, gate, clock, log, settings: node }
  const enrollment = new Enrollment({
    finder: new NamespaceFinder({ scope: settings.netnsScope, clock, log }),
    mesh,
    clock,
    log,
    metrics: captures,
    makeProxy: (subject) => new PodProxy(context, subject),
  })
  return enrollment
}

function gateOf(
  proxies: () => readonly PodProxy[],
  metrics: CaptureMetrics,
  log: Log,
): DescriptorGate {
  const budget = Math.min(descriptorLimit() - openDescriptors() - RESERVED_DESCRIPTORS, 1_000_000)
  return new DescriptorGate({
    budget: Math.max(budget, 64),
    onPause: () => {
      metrics.paused()
      log.warn('descriptor limit reached, accepting pauses', { budget })
      for (const proxy of proxies()) proxy.pauseAccepting()
    },
    onResume: () => {
      log.info('accepting again')
      for (const proxy of proxies()) proxy.resumeAccepting()
    },
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
