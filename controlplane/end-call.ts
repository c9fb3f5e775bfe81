import type { status } from '@grpc/grpc-js'

/** Ends a streaming call with a status; grpc-js takes it as an `error` event of the call. */
export function endCall(
  call: { emit(event: 'error', error: Error): boolean },
  code: status,
  details: string,
): void {
  call.emit('error', Object.assign(new Error(details), { code, details }))
}
