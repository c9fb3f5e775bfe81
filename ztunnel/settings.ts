import { availableParallelism } from 'node:os'
import { z } from 'zod'
import {
  duration,
  LOG_SETTINGS,
  port,
  type Settings,
  type SettingsOf,
  secureUrl,
  toggle,
} from '../shared/runtime/settings.ts'

const name = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/)
const file = z.string().min(1)

/** A node agent leaves the rest of a large machine to the pods. */
const MOST_AUTO_THREADS = 4

/** Everything that `ambit ztunnel` can be told; times in milliseconds. */
export const ZTUNNEL_SETTINGS = {
  node: {
    flag: 'node',
    env: 'NODE_NAME',
    argument: 'NAME',
    help: 'The node that this process serves.',
    form: 'the name of a node',
    schema: name,
  },
  xdsAddress: {
    flag: 'xds-address',
    env: 'XDS_ADDRESS',
    argument: 'URL',
    help: 'The control plane.',
    form: 'a URL like https://localhost:15012',
    schema: secureUrl,
    fallback: 'https://localhost:15012',
  },
  caAddress: {
    flag: 'ca-address',
    env: 'CA_ADDRESS',
    argument: 'URL',
    help: 'The certificate authority, if it is not at the xDS address.',
    form: 'a URL like https://localhost:15012',
    schema: z.union([z.literal(''), secureUrl]),
    fallback: '',
  },
  caRoot: {
    flag: 'ca-root',
    env: 'XDS_ROOT_CA',
    argument: 'FILE',
    help: 'Root certificates (PEM) that the control plane is verified against.',
    form: 'the path of a file',
    schema: file,
    fallback: './var/run/secrets/istio/root-cert.pem',
  },
  token: {
    flag: 'token',
    env: 'AUTH_TOKEN',
    argument: 'FILE',
    help: "The file with this node's token; read anew for every use.",
    form: 'the path of a file',
    schema: file,
    fallback: './var/run/secrets/tokens/istio-token',
  },
  netnsScope: {
    flag: 'netns-scope',
    env: 'AMBIT_NETNS_SCOPE',
    argument: 'PREFIX',
    help: 'Pods are only looked for in namespaces under /var/run/netns with this prefix.',
    form: 'the beginning of a namespace name: letters, digits, dot, underscore, dash',
    schema: z.string().regex(/^[\w.-]{1,200}$/),
  },
  trustDomain: {
    flag: 'trust-domain',
    env: 'AMBIT_TRUST_DOMAIN',
    argument: 'NAME',
    help: 'The trust domain of the mesh.',
    form: 'a trust domain: lower-case letters, digits, dot, dash, underscore',
    schema: z.string().regex(/^[a-z0-9._-]{1,255}$/),
    fallback: 'cluster.local',
  },
  clusterId: {
    flag: 'cluster-id',
    env: 'CLUSTER_ID',
    argument: 'ID',
    help: 'The cluster as the control plane knows it.',
    form: 'the name of a cluster',
    schema: z.string().regex(/^[\w.-]{1,253}$/),
    fallback: 'Kubernetes',
  },
  network: {
    flag: 'network',
    env: 'NETWORK',
    argument: 'NAME',
    help: 'The network that this node is in.',
    form: 'the name of a network, or empty',
    schema: z.string().regex(/^[\w.-]{0,253}$/),
    fallback: '',
  },
  secretTtlMs: {
    flag: 'secret-ttl',
    env: 'SECRET_TTL',
    argument: 'DURATION',
    help: 'The lifetime that certificates are requested with.',
    form: 'a duration of at least 10s, like 24h',
    schema: duration.pipe(z.number().min(10_000)),
    fallback: '24h',
  },
  drainMs: {
    flag: 'drain',
    env: 'CONNECTION_TERMINATION_DEADLINE',
    argument: 'DURATION',
    help: 'How long open connections may go on after a signal to stop.',
    form: 'a duration like 5s or 1m 30s',
    schema: duration,
    fallback: '5s',
  },
  threads: {
    flag: 'threads',
    env: 'ZTUNNEL_WORKER_THREADS',
    argument: 'COUNT',
    help: 'Threads that carry traffic; auto is one for each processor, at most 4.',
    form: 'auto or a number from 1 to 64',
    schema: z.union([
      z.literal('auto').transform(() => Math.min(availableParallelism(), MOST_AUTO_THREADS)),
      z
        .string()
        .regex(/^\d{1,2}$/)
        .transform(Number)
        .pipe(z.int().min(1).max(64)),
    ]),
    fallback: 'auto',
  },
  poolIdleMs: {
    flag: 'pool-idle',
    env: 'POOL_UNUSED_RELEASE_TIMEOUT',
    argument: 'DURATION',
    help: 'How long an HBONE connection without tunnels is kept for the next one.',
    form: 'a duration like 5m',
    schema: duration,
    fallback: '5m',
  },
  adminPort: {
    flag: 'admin-port',
    env: 'AMBIT_ADMIN_PORT',
    argument: 'PORT',
    help: 'Admin endpoint, on loopback.',
    form: 'a port number',
    schema: port,
    fallback: '15000',
  },
  statsPort: {
    flag: 'stats-port',
    env: 'AMBIT_STATS_PORT',
    argument: 'PORT',
    help: 'Metrics endpoint.',
    form: 'a port number',
    schema: port,
    fallback: '15020',
  },
  readinessPort: {
    flag: 'readiness-port',
    env: 'AMBIT_READINESS_PORT',
    argument: 'PORT',
    help: 'Readiness endpoint.',
    form: 'a port number',
    schema: port,
    fallback: '15021',
  },
  release: {
    flag: 'release',
    env: 'AMBIT_RELEASE',
    help: "Release this node's pods from the mesh and exit.",
    form: 'true or false',
    schema: toggle,
    fallback: 'false',
  },
  ...LOG_SETTINGS,
} as const satisfies Settings

export type ZtunnelSettings = SettingsOf<typeof ZTUNNEL_SETTINGS>
