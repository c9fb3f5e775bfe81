import { createRequire } from 'node:module'
import type forge from 'node-forge'

const require = createRequire(import.meta.url)

/** The one part of forge that is used here: the whole of it costs every thread 4 MiB more. */
export const asn1: typeof forge.asn1 = require('node-forge/lib/asn1.js')

export type Asn1 = forge.asn1.Asn1
export type Asn1Type = forge.asn1.Type
