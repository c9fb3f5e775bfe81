import { z } from 'zod'
import {
  duration,
  hostPort,
  LOG_SETTINGS,
  type Settings,
  type SettingsOf,
} from '../shared/runtime/settings.ts'

const dnsName = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/)
const identifier = z.string().regex(/^[\w.-]{0,253}$/)
const directory = z.string().min(1)

/** Everything that `ambit controlplane` can be told; times in milliseconds. */
export const CONTROL_PLANE_SETTINGS = {
  config: {
    flag: 'config',
    env: 'AMBIT_CONFIG_DIR',
    argument: 'DIR',
    help: 'Objects: YAML and JSON files in this directory, which is watched.',
    form: 'the path of a directory',
    schema: directory,
  },
  state: {
    flag: 'state',
    env: 'AMBIT_STATE_DIR',
    argument: 'DIR',
    help: 'What has to survive a restart: the CA, the key of tokens, enrollment, service addresses.',
    form: 'the path of a directory',
    schema: directory,
  },
  caDir: {
    flag: 'ca-dir',
    env: 'AMBIT_CA_DIR',
    argument: 'DIR',
    help: 'A CA to use instead of an own one: ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem.',
    form: 'the path of a directory, or empty',
    schema: z.string(),
    fallback: '',
  },
  listen: {
    flag: 'listen',
    env: 'AMBIT_LISTEN',
    argument: 'HOST:PORT',
    help: 'xDS, certificates and enrollment, over TLS.',
    form: 'HOST:PORT, like [::]:15012',
    schema: hostPort,
    fallback: '[::]:15012',
  },
  advertise: {
    flag: 'advertise',
    env: 'AMBIT_ADVERTISE',
    argument: 'NAMES',
    help: 'DNS names and addresses by which the control plane is reached; localhost always is one.',
    form: 'a list of DNS names and addresses, separated by commas',
    schema: z
      .string()
      .transform((text) => text.split(',').flatMap((part) => part.trim() || []))
      .pipe(z.array(z.string().regex(/^[A-Za-z0-9:._*-]{1,253}$/)).max(64)),
    fallback: '',
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
  rootNamespace: {
    flag: 'root-namespace',
    env: 'AMBIT_ROOT_NAMESPACE',
    argument: 'NAME',
    help: 'Policies in this namespace hold for the whole mesh.',
    form: 'the name of a namespace',
    schema: dnsName,
    fallback: 'istio-system',
  },
  clusterId: {
    flag: 'cluster-id',
    env: 'CLUSTER_ID',
    argument: 'ID',
    help: 'The name of this cluster.',
    form: 'the name of a cluster',
    schema: identifier.min(1),
    fallback: 'Kubernetes',
  },
  network: {
    flag: 'network',
    env: 'NETWORK',
    argument: 'NAME',
    help: 'The name of this network.',
    form: 'the name of a network, or empty',
    schema: identifier,
    fallback: '',
  },
  domain: {
    flag: 'domain',
    env: 'AMBIT_DOMAIN',
    argument: 'SUFFIX',
    help: 'The DNS suffix of services.',
    form: 'a DNS suffix like cluster.local',
    schema: dnsName,
    fallback: 'cluster.local',
  },
  vipRangeV4: {
    flag: 'vip-range-v4',
    env: 'AMBIT_VIP_RANGE_V4',
    argument: 'CIDR',
    help: 'Services without an address get one from here.',
    form: 'an IPv4 CIDR like 240.240.0.0/16',
    schema: z.cidrv4(),
    fallback: '240.240.0.0/16',
  },
  vipRangeV6: {
    flag: 'vip-range-v6',
    env: 'AMBIT_VIP_RANGE_V6',
    argument: 'CIDR',
    help: 'The same for IPv6.',
    form: 'an IPv6 CIDR like 2001:2::/48',
    schema: z.cidrv6(),
    fallback: '2001:2::/48',
  },
  metricsListen: {
    flag: 'metrics-listen',
    env: 'AMBIT_METRICS_LISTEN',
    argument: 'HOST:PORT',
    help: 'Metrics, readiness and debug pages, over plain HTTP.',
    form: 'HOST:PORT, like [::]:15014',
    schema: hostPort,
    fallback: '[::]:15014',
  },
  workloadCertTtlMs: {
    flag: 'workload-cert-ttl',
    env: 'AMBIT_WORKLOAD_CERT_TTL',
    argument: 'DURATION',
    help: 'The lifetime of a certificate whose request names none.',
    form: 'a duration between 1m and 90d, like 24h',
    schema: duration.pipe(
      z
        .number()
        .min(60_000)
        .max(90 * 86_400_000),
    ),
    fallback: '24h',
  },
  ...LOG_SETTINGS,
} as const satisfies Settings

export type ControlPlaneSettings = SettingsOf<typeof CONTROL_PLANE_SETTINGS>
