-- wrk: the body of a call, BENCH_BODY if that is set, with the header `Prefer` of BENCH_PREFER; the path is in
-- wrk's URL.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Prefer"] = os.getenv("BENCH_PREFER")
wrk.body = os.getenv("BENCH_BODY") or '{"command":"bench.noop","params":["0123456789abcdef"]}'

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %.0f %.0f %d %d\n",
    summary.requests / (summary.duration / 1e6), latency:percentile(50),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, summary.requests))
end
