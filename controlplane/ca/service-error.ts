import { Metadata, type ServiceError, type status } from '@grpc/grpc-js'

/** An error that gRPC hands to the caller as it is: nothing of the reason but `details` leaves the process. */
export const serviceError = (code: status, details: string): ServiceError =>
  Object.assign(new Error(details), { code, details, metadata: new Metadata() })
