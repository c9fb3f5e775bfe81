import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'

// Test support only: secured connections over loopback, without any identity.

let pem: { readonly key: string; readonly cert: string } | undefined

/** A self-signed certificate, made once a process. */
export function testCertificate(): { readonly key: string; readonly cert: string } {
  if (pem !== undefined) return pem
  const options = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const files = ['-keyout', '-', '-out', '-', '-subj', '/CN=test', '-days', '2']
  const out = execFileSync('openssl', ['req', '-x509', ...options, ...files], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const cert = out.slice(out.indexOf('-----BEGIN CERTIFICATE-----'))
  pem = { key: out.slice(0, out.length - cert.length), cert }
  return pem
}

/** Both ends of one TCP connection over loopback; disposal destroys both. */
export class TcpPair implements Disposable {
  readonly client: Socket
  readonly server: Socket

  constructor(client: Socket, server: Socket) {
    this.client = client
    this.server = server
    for (const end of [client, server]) end.on('error', () => undefined)
  }

  [Symbol.dispose](): void {
    this.client.destroy()
    this.server.destroy()
  }
}

export async function tcpPair(): Promise<TcpPair> {
  const listener = createTcpServer({ allowHalfOpen: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const accepted = new Promise<Socket>((resolve) => {
    listener.once('connection', resolve)
  })
  const client = connectTcp({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  await once(client, 'connect')
  const server = await accepted
  listener.close()
  return new TcpPair(client, server)
}

/** Both ends of one TLS 1.3 connection over loopback, handshake done; disposal destroys both. */
export class TlsPair implements Disposable {
  readonly client: TLSSocket
  readonly server: TLSSocket
  /** The TCP sockets below. */
  readonly tcp: TcpPair

  constructor(client: TLSSocket, server: TLSSocket, tcp: TcpPair) {
    this.client = client
    this.server = server
    this.tcp = tcp
    for (const end of [client, server]) end.on('error', () => undefined)
  }

  [Symbol.dispose](): void {
    this.client.destroy()
    this.server.destroy()
    this.tcp[Symbol.dispose]()
  }
}

export async function tlsPair(alpn: readonly string[] = ['h2']): Promise<TlsPair> {
  const tcp = await tcpPair()
  const protocols = alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }
  const acceptor = createServer({ ...testCertificate(), minVersion: 'TLSv1.3', ...protocols })
  const secured = new Promise<TLSSocket>((resolve) => {
    acceptor.once('secureConnection', resolve)
  })
  acceptor.emit('connection', tcp.server)
  const client = connect({
    socket: tcp.client,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
    ...protocols,
  })
  const [server] = await Promise.all([secured, once(client, 'secureConnect')])
  return new TlsPair(client, server, tcp)
}
