import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Channel } from './channel.ts'

/** The request that opens a tunnel: `CONNECT authority` (RFC 9113 section 8.5) and its plain headers. */
export interface ConnectRequest {
  /** `host:port` or `[v6]:port`. */
  readonly authority: string
  /** Lower-case names; pseudo headers are not among them. */
  readonly headers: Readonly<Record<string, string>>
}

/**
 * One user connection inside an HBONE connection.
 *
 * The stream half-closes both ways: its `end` event is the peer's END_STREAM, `stream.end()` sends ours. If the
 * tunnel stops in any other way (RST_STREAM, connection lost, GOAWAY forced), the stream emits `error` and never
 * `end`: a cut transfer must not look complete. `cut` ends it so for the peer (RST_STREAM with CONNECT_ERROR).
 */
export interface Tunnel {
  /** The bytes as they come. To be used instead of `stream`, never beside it. */
  readonly channel: Channel
  /** Made by the first look at it. */
  readonly stream: Duplex
  /** Settles when the tunnel no longer counts as open, however it ended; what came whole may still be read. */
  readonly closed: Promise<void>
  /** Idempotent; also right after a clean end. */
  cut(cause: Error): void
}

/** A CONNECT that a peer sent. Exactly one of `accept` and `refuse` is called; later calls do nothing. */
export interface IncomingTunnel {
  readonly method: string
  readonly request: ConnectRequest
  /** Aborts when the peer gave up before the answer. */
  readonly gone: AbortSignal
  /** Answers 200 with the given headers. Throws if the peer is gone. */
  accept(headers: Readonly<Record<string, string>>): Tunnel
  /** Answers with a status other than 2xx and ends the stream. */
  refuse(status: number): void
}

/** An HBONE connection that a peer opened to us. */
export interface HboneServerConnection {
  readonly tls: TLSSocket
  /** How many tunnels are open. */
  readonly tunnels: number
  readonly closed: Promise<void>
  /** Says GOAWAY; open tunnels go on, new ones are refused. */
  drain(): void
  /** Cuts all tunnels and the connection. */
  destroy(cause: Error): void
}

/** An HBONE connection that we opened. */
export interface HboneClientConnection {
  readonly tls: TLSSocket
  /** How many tunnels are open or being opened. */
  readonly tunnels: number
  /** How many tunnels the peer allows at once (its SETTINGS_MAX_CONCURRENT_STREAMS); it may change. */
  readonly maxTunnels: number
  /** False after GOAWAY, an error or `drain`: open no more tunnels here. */
  readonly usable: boolean
  readonly closed: Promise<void>
  /**
   * Sends CONNECT and waits for the answer. Rejects with `HboneError`: `HBONE_STATUS` (with `status`) for any
   * answer but 200, `HBONE_REFUSED_STREAM` when the peer is known not to have seen it (also beyond `maxTunnels`),
   * `HBONE_RESET`, `HBONE_CLOSED`, `HBONE_TIMEOUT`.
   */
  open(request: ConnectRequest, signal: AbortSignal): Promise<OpenedTunnel>
  /** Opens no more tunnels and closes when the last one has ended. */
  drain(): void
  destroy(cause: Error): void
}

export interface OpenedTunnel extends Tunnel {
  /** Headers of the 200 answer. */
  readonly headers: Readonly<Record<string, string>>
}
