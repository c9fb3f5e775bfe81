import { expect, test } from 'vitest'
import { parseHaproxyStatistics } from './haproxy-mtls.ts'
import { sumSamples } from './metrics-text.ts'
import { parseStubStatus } from './nginx-mtls.ts'

test('HAProxy: frontends are summed by the names of the columns', () => {
  const csv = [
    '# pxname,svname,stot,bin,bout,',
    'http,FRONTEND,3,10,20,',
    'http,peer,3,10,20,',
    'http,BACKEND,3,10,20,',
    'echo,FRONTEND,1,5,6,',
    '',
  ].join('\n')
  expect(parseHaproxyStatistics(csv)).toEqual({ connections: 4, bytes: 41 })
})

test('nginx: accepted connections, no bytes', () => {
  const page = 'Active connections: 1 \nserver accepts handled requests\n 17 16 15 \nReading: 0\n'
  expect(parseStubStatus(page)).toEqual({ connections: 17, bytes: undefined })
  expect(() => parseStubStatus('<html>')).toThrow('not a status page')
})

test('ztunnel: samples with all of the labels and no others', () => {
  const text = [
    '# TYPE a_total counter',
    'a_total{reporter="source",to="x"} 2',
    'a_total{to="x",reporter="source",more="y"} 3',
    'a_total{reporter="destination",to="x"} 100',
    'a_total{reporter="source",to="xx"} 100',
    'a_total_more{reporter="source",to="x"} 100',
  ].join('\n')
  expect(sumSamples(text, 'a_total', { reporter: 'source', to: 'x' })).toBe(5)
  expect(sumSamples('', 'a_total', {})).toBe(0)
})
