/** How many traffic threads the ztunnels under test have; the same tests hold for any number. */
export const ZTUNNEL_THREADS = Number(process.env['TEST_ZTUNNEL_THREADS'] ?? 2)
