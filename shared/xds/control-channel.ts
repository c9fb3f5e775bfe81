import { readFile } from 'node:fs/promises'
import { Client, Metadata } from '@grpc/grpc-js'
import { type ChannelSecurity, channelSecurity } from '../identity/channel-security.ts'
import { AmbitError } from '../runtime/errors.ts'

/** Where the control plane is, and how this process shows who it is. */
export interface ControlEndpoint {
  /** `https://host:port` */
  readonly address: string
  /** Root certificates (PEM) that the server is verified against; read anew for every connection. */
  readonly rootFile: string
  /** The bearer token; read anew for every connection. */
  readonly tokenFile: string
  readonly clusterId: string
}

export interface ControlChannel {
  readonly client: Client
  /** For every call: `authorization` and `clusterid`. */
  readonly metadata: Metadata
}

const LARGEST_MESSAGE_BYTES = 200 * 1024 * 1024

/**
 * One connection to the control plane: TLS 1.3, HTTP/2 keepalive of 30 s and 10 s, messages up to 200 MiB (ztunnel
 * spec, section 8). Nothing is dialled before the first call. Rejects with `CONTROL_ROOT` or `CONTROL_TOKEN` if a
 * file cannot be used.
 */
export async function openControlChannel(endpoint: ControlEndpoint): Promise<ControlChannel> {
  const url = new URL(endpoint.address)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const metadata = new Metadata()
  const token = (await readSetting(endpoint.tokenFile, 'CONTROL_TOKEN', 'token')).trim()
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new AmbitError('CONTROL_TOKEN', `${endpoint.tokenFile} does not hold one token`)
  }
  metadata.set('authorization', `Bearer ${token}`)
  metadata.set('clusterid', endpoint.clusterId)
  const root = await readSetting(endpoint.rootFile, 'CONTROL_ROOT', 'root certificates')
  const security = securityOf(host, root, endpoint.rootFile)
  const client = new Client(`${url.hostname}:${url.port || '443'}`, security.credentials, {
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.max_receive_message_length': LARGEST_MESSAGE_BYTES,
    'grpc.max_send_message_length': LARGEST_MESSAGE_BYTES,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    // Subchannels of the process-wide pool would remember the backoff of an earlier connection.
    'grpc.use_local_subchannel_pool': 1,
    ...security.options,
  })
  return { client, metadata }
}

function securityOf(host: string, root: string, file: string): ChannelSecurity {
  try {
    return channelSecurity(host, root)
  } catch (error) {
    throw new AmbitError('CONTROL_ROOT', `${file} holds no root certificates`, { cause: error })
  }
}

async function readSetting(file: string, code: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new AmbitError(code, `cannot read the ${what} in ${file}`, { cause: error })
  }
}
