import { once } from 'node:events'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { serveHbone } from '../../../shared/hbone/server.ts'
import type { Place } from '../../../shared/lab/place.ts'
import { listenTcp } from '../../../shared/linux/sockets.ts'
import { silentLog } from '../../../shared/runtime/log.ts'
import { HBONE_PORT } from './wire-tap.ts'

/** A TLS server that stands in for the ztunnel of a pod: it serves HBONE, and every tunnel one HTTP answer. */
export class TlsPeer implements AsyncDisposable {
  /** The authorities of the tunnels that it was asked for. */
  readonly tunnels: string[] = []
  /** The URIs in the certificates of its clients. */
  readonly callers: (string | undefined)[] = []
  readonly #server: ReturnType<typeof createServer>
  readonly #open = new Set<TLSSocket>()

  private constructor(options: TlsOptions) {
    this.#server = createServer({ ALPNProtocols: ['h2'], ...options })
    this.#server.on('tlsClientError', () => undefined)
    this.#server.on('secureConnection', (tls) => this.#serve(tls))
  }

  static async start(place: Place, options: TlsOptions): Promise<TlsPeer> {
    const peer = new TlsPeer(options)
    const fd = place.namespace.run(() => listenTcp({ host: '::', port: HBONE_PORT }))
    peer.#server.listen({ fd })
    await once(peer.#server, 'listening')
    return peer
  }

  #serve(tls: TLSSocket): void {
    this.#open.add(tls)
    this.callers.push(tls.getPeerX509Certificate()?.subjectAltName?.replace(/^URI:/, ''))
    tls.on('error', () => undefined)
    tls.once('close', () => this.#open.delete(tls))
    serveHbone(
      tls,
      (tunnel) => {
        this.tunnels.push(tunnel.request.authority)
        const { stream } = tunnel.accept({})
        stream.on('error', () => undefined)
        stream.once('data', () =>
          stream.end('HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nwelcome\n'),
        )
      },
      { log: silentLog },
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    for (const tls of this.#open) tls.destroy()
    await once(this.#server, 'close')
  }
}
