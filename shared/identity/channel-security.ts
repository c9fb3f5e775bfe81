import { isIP } from 'node:net'
import { checkServerIdentity, createSecureContext } from 'node:tls'
import { type ChannelCredentials, credentials } from '@grpc/grpc-js'

export interface ChannelSecurity {
  readonly credentials: ChannelCredentials
  /** Go into the options of the channel. */
  readonly options: Readonly<Record<string, string>>
}

/** What is asked for by SNI when the server is known by its address only; addresses are not allowed there. */
const NAME_OF_ADDRESSES = 'istiod.istio-system.svc'

/**
 * TLS 1.3 towards the control plane at `host`, a name or an address that the server's certificate has to carry.
 * Throws if `roots` are not certificates (PEM).
 */
export function channelSecurity(host: string, roots: string): ChannelSecurity {
  const context = createSecureContext({ ca: roots, minVersion: 'TLSv1.3' })
  return {
    credentials: credentials.createFromSecureContext(context, {
      checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
    }),
    options: isIP(host) === 0 ? {} : { 'grpc.ssl_target_name_override': NAME_OF_ADDRESSES },
  }
}
