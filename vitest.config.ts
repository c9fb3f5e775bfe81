import { defineConfig } from 'vitest/config'

const cores = 2

export default defineConfig({
  test: {
    pool: 'forks',
    reporters: ['default'],
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{shared,ztunnel,controlplane,cli,demo,bench,scripts}/**/*.test.ts',
            'test/*.test.ts',
          ],
          testTimeout: 10_000,
          pool: 'forks',
        },
      },
      {
        test: {
          name: 'fuzz',
          include: ['test/fuzz/**/*.test.ts'],
          testTimeout: 60_000,
          pool: 'forks',
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          pool: 'forks',
          maxWorkers: cores,
        },
      },
    ],
  },
})
