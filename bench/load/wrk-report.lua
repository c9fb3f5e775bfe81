-- One line of JSON for bench/workload/wrk.ts. Latencies are microseconds; wrk has corrected them for coordinated omission.
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'wrk-report {"requests":%d,"microseconds":%d,"bytes":%d,"errors":%d,"p50":%d,"p90":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9)))
end
