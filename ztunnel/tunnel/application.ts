import { explainDeny } from '../../shared/authz/engine.ts'
import type { ConnectionFacts } from '../../shared/authz/model.ts'
import type { Channel } from '../../shared/hbone/channel.ts'
import type { Service, Workload } from '../../shared/mesh/model.ts'
import { AmbitError } from '../../shared/runtime/errors.ts'
import { formatEndpoint } from '../../shared/runtime/ip-address.ts'
import type { ConnectionMeter } from '../../shared/telemetry/connection-record.ts'
import { parseTraceparent } from '../route/headers.ts'
import { dialChannel, type Target } from './dial.ts'
import { outcomeOf, outcomeOfSplice } from './failure.ts'
import { type PodContext, partyOf } from './pod-context.ts'
import { splice } from './splice.ts'

/** A connection that wants to reach the application of a pod, whichever way it came. */
export interface InboundCall {
  /** Monotonic milliseconds. */
  readonly accepted: number
  readonly sourceIp: string
  readonly sourcePort: number
  /** Verified; undefined for plaintext. */
  readonly identity: string | undefined
  /** The pod's own. */
  readonly workload: Workload
  readonly service: Service | undefined
  readonly target: Target
  readonly hboneAddress: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** Aborts when the caller gave up before the answer; plaintext callers cannot say so. */
  readonly gone?: AbortSignal
  /** 401 for a denial, 503 when the application cannot be reached. Plaintext callers see a reset. */
  refuse(status: number): void
  /** Called when the application is connected; hands over the caller's bytes. */
  accept(): { readonly channel: Channel }
}

/**
 * Judges, connects to the application with the caller's source address, and moves bytes until both ends are done.
 * The connection is registered before it is judged, so that no change of policy slips in between. Never throws.
 */
export async function forwardToApplication(pod: PodContext, call: InboundCall): Promise<void> {
  const facts: ConnectionFacts = {
    sourceIp: call.sourceIp,
    sourceIdentity: call.identity,
    destinationIp: call.target.address,
    destinationPort: call.target.port,
  }
  const abort = new AbortController()
  const source = formatEndpoint(call.sourceIp, call.sourcePort)
  const destination = formatEndpoint(call.target.address, call.target.port)
  const forget = pod.connections.add({
    abort,
    direction: 'inbound',
    source,
    destination,
    protocol: call.identity === undefined ? 'TCP' : 'HBONE',
    facts,
  })
  const meter = openMeter(pod, call, source, destination)
  try {
    const decision = pod.connections.judge(facts)
    if (decision.verdict === 'deny') {
      call.refuse(401)
      const error = explainDeny(decision)
      meter.close({ flag: 'DENY', error, policy: decision.policy, reason: decision.reason })
      return
    }
    await connectAndSplice(pod, call, abort.signal, meter)
  } catch (error) {
    call.refuse(503)
    meter.close(outcomeOf(error))
  } finally {
    forget()
  }
}

async function connectAndSplice(
  pod: PodContext,
  call: InboundCall,
  signal: AbortSignal,
  meter: ConnectionMeter,
): Promise<void> {
  const application = await dialChannel(pod.namespace, call.target, {
    source: call.sourceIp,
    clock: pod.clock,
    signal: call.gone === undefined ? signal : AbortSignal.any([signal, call.gone]),
  })
  const elapsed = (): number => pod.clock.monotonicMs() - call.accepted
  let caller: Channel
  try {
    caller = call.accept().channel
  } catch (error) {
    application.cut(
      error instanceof Error ? error : new AmbitError('CONNECTION_FAILED', String(error)),
    )
    throw error
  }
  meter.established(elapsed())
  let first = true
  const end = await splice(caller, application, {
    onLeftBytes: (bytes) => meter.received(bytes),
    onRightBytes: (bytes) => {
      if (first) {
        first = false
        meter.firstByte(elapsed())
      }
      meter.sent(bytes)
    },
    signal,
  })
  meter.close(outcomeOfSplice(end))
}

function openMeter(
  pod: PodContext,
  call: InboundCall,
  source: string,
  destination: string,
): ConnectionMeter {
  const { identity, service } = call
  const caller = pod.mesh.workloadByAddress(pod.settings.network, call.sourceIp)
  return pod.telemetry.open({
    direction: 'inbound',
    source: partyOf(caller, identity),
    destination: partyOf(call.workload, identity === undefined ? undefined : pod.identity),
    service,
    mutualTls: identity !== undefined,
    sourceAddress: source,
    destinationAddress:
      call.hboneAddress === undefined ? destination : formatEndpoint(call.target.address, 15_008),
    hboneAddress: call.hboneAddress,
    traceId: parseTraceparent(call.headers['traceparent'])?.traceId,
  })
}
