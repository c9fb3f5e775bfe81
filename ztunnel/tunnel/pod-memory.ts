import { MemoryAccount, threadMemory } from '../../shared/hbone/memory-account.ts'

/** Half of what the thread has: one pod's peers, who may all be slow readers, leave room for those of the others. */
const POD_BYTES = threadMemory.limit / 2

/** What all HBONE connections of one pod in one direction may hold. */
export const createPodMemory = (): MemoryAccount => new MemoryAccount(POD_BYTES, threadMemory)
