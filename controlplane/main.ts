import { isIP } from 'node:net'
import { hostname } from 'node:os'
import type { Server } from '@grpc/grpc-js'
import { IstioCertificateServiceService } from '../shared/proto/generated/citadel.ts'
import { AggregatedDiscoveryServiceService } from '../shared/proto/generated/discovery.ts'
import { NodeServiceService } from '../shared/proto/generated/node.ts'
import { type Clock, systemClock } from '../shared/runtime/clock.ts'
import { HttpEndpoint } from '../shared/runtime/http-endpoint.ts'
import { type Component, run } from '../shared/runtime/lifecycle.ts'
import { createLog, type Log } from '../shared/runtime/log.ts'
import { packageVersion } from '../shared/runtime/version.ts'
import { Metrics } from '../shared/telemetry/metrics.ts'
import { declareProcessMetrics } from '../shared/telemetry/process-metrics.ts'
import { type Authenticate, createAuthenticate } from './ca/authenticate.ts'
import { Authority } from './ca/authority.ts'
import { createCertificateService } from './ca/certificate-service.ts'
import { NodeTokens } from './ca/tokens.ts'
import { Compiler } from './compile/compiler.ts'
import { type DebugOptions, debugRoutes } from './debug.ts'
import { NodeService } from './enroll/node-service.ts'
import { ReportStore } from './enroll/report-store.ts'
import { VipFile } from './enroll/vip-file.ts'
import { GrpcEndpoint } from './grpc-endpoint.ts'
import { Publisher } from './publisher.ts'
import type { ControlPlaneSettings } from './settings.ts'
import { FileSource } from './source/files.ts'
import { DeltaServer } from './xds/delta-server.ts'
import { ResourceStore } from './xds/resource-store.ts'

const DRAIN_MS = 2_000

/** Runs the control plane until it is told to stop. Rejects if it cannot start. */
export async function runControlPlane(settings: ControlPlaneSettings): Promise<void> {
  const log = createLog({ level: settings.logLevel, format: settings.logFormat })
  const stop = new AbortController()
  const { components } = await createControlPlane(settings, log, systemClock)
  await run(components, { log: log.child('controlplane'), drainMs: DRAIN_MS, stop: stop.signal })
}

export interface ControlPlane {
  readonly components: readonly Component[]
  readonly grpc: GrpcEndpoint
  readonly http: HttpEndpoint
}

/** The parts of a control plane, wired and not started: objects first, then those who ask for what came of them. */
export async function createControlPlane(
  settings: ControlPlaneSettings,
  log: Log,
  clock: Clock,
): Promise<ControlPlane> {
  const { state, caDir, trustDomain } = settings
  const authority = Authority.open({
    stateDir: state,
    ...(caDir === '' ? {} : { caDir }),
    trustDomain,
    clock,
  })
  const authenticate = createAuthenticate(NodeTokens.open(state, clock), log.child('authenticate'))
  const reports = new ReportStore(state)
  const vips = new VipFile(state)
  const compiler = new Compiler(settings, {
    captured: await reports.load(),
    vips: await vips.load(),
  })
  const metrics = new Metrics()
  declareProcessMetrics(metrics, { component: 'controlplane', version: packageVersion() })
  const store = new ResourceStore()
  const xds = new DeltaServer({ store, authenticate, clock, log, metrics })
  const enrollment = new NodeService({
    authenticate,
    wantedPods: (node) => compiler.wantedPods(node),
    report: (uid, captured) => publisher.report(uid, captured),
    clock,
    log,
  })
  const publisher = new Publisher({
    mesh: settings,
    compiler,
    store,
    reports,
    vips,
    clock,
    log,
    nodesChanged: (nodes) => enrollment.nodesChanged(nodes),
  })
  const source = new FileSource({ directory: settings.config, clock, log })
  const objects = new ObjectsComponent(source, publisher)
  const grpc = new GrpcEndpoint({
    listen: settings.listen,
    issue: () => authority.issueServer(namesOf(settings.advertise)),
    serve: (server) => {
      addServices(server, { settings, authority, authenticate, compiler, xds, enrollment, log })
    },
    endStreams: () => {
      xds[Symbol.dispose]()
      enrollment[Symbol.dispose]()
    },
    clock,
    log: log.child('grpc'),
  })
  const http = httpEndpoint(settings, metrics, log, {
    store,
    compiler,
    source,
    xds,
    enrollment,
    isReady: () => objects.ready,
  })
  return { components: [objects, grpc, http], grpc, http }
}

/** Metrics, readiness and debug pages. */
const httpEndpoint = (
  { metricsListen }: ControlPlaneSettings,
  metrics: Metrics,
  log: Log,
  debug: DebugOptions,
): HttpEndpoint =>
  new HttpEndpoint({
    name: 'http',
    host: metricsListen.host,
    port: metricsListen.port,
    routes: new Map([...metrics.routes(), ...debugRoutes(debug)]),
    log,
  })

interface Services {
  readonly settings: ControlPlaneSettings
  readonly authority: Authority
  readonly authenticate: Authenticate
  readonly compiler: Compiler
  readonly xds: DeltaServer
  readonly enrollment: NodeService
  readonly log: Log
}

function addServices(server: Server, services: Services): void {
  const { settings, authority, authenticate, compiler, xds, enrollment, log } = services
  server.addService(AggregatedDiscoveryServiceService, xds.implementation)
  server.addService(NodeServiceService, enrollment.implementation)
  server.addService(
    IstioCertificateServiceService,
    createCertificateService({
      authority,
      authenticate,
      isLocalIdentity: (node, identity) => compiler.isLocalIdentity(node, identity),
      trustDomain: settings.trustDomain,
      defaultTtlSeconds: Math.round(settings.workloadCertTtlMs / 1000),
      log: log.child('ca'),
    }),
  )
}

/** The objects, from the source through the publisher. When it has started, everything there was is announced. */
class ObjectsComponent implements Component {
  readonly name = 'objects'
  readonly #source: FileSource
  readonly #publisher: Publisher
  #ready = false

  constructor(source: FileSource, publisher: Publisher) {
    this.#source = source
    this.#publisher = publisher
  }

  get ready(): boolean {
    return this.#ready
  }

  async start(): Promise<void> {
    await this.#source.start((events) => this.#publisher.objects(events))
    this.#publisher.forgetUnknown()
    await this.#publisher.idle()
    this.#ready = true
  }

  async drain(): Promise<void> {
    await this.#publisher.idle()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source[Symbol.asyncDispose]()
    await this.#publisher.idle()
    this.#publisher[Symbol.dispose]()
  }
}

/** What the server certificate is for: what was asked for, and the machine itself. */
function namesOf(advertised: readonly string[]): { dns: string[]; ips: string[] } {
  const names = [...new Set([...advertised, 'localhost', hostname(), '127.0.0.1', '::1'])]
  const istio = ['istiod.istio-system.svc', 'istiod.istio-system.svc.cluster.local']
  return {
    dns: [...names.filter((name) => isIP(name) === 0), ...istio],
    ips: names.filter((name) => isIP(name) !== 0),
  }
}
