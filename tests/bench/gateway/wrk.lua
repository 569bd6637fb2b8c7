-- GET and POST in turn where `both` is asked, else GET; and at the end all that came of it, as one line of JSON.
local paths, at = {}, 0

function init(arguments)
  local get = wrk.format("GET", nil, wrk.headers)
  paths = {get}
  if arguments[1] == "both" then
    paths[2] = wrk.format("POST", nil, wrk.headers, '{"amount": 1}')
  end
end

function request()
  at = at % #paths + 1
  return paths[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"seconds": %.6f, "requests": %d, "p50": %.6f, "p99": %.6f, "most": %.6f, "errors": ' ..
    '{"not connected": %d, "cut": %d, "not sent": %d, "a status over 399": %d, "over 10 s": %d}}\n',
    summary.duration / 1e6, summary.requests, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    latency.max / 1e6, e.connect, e.read, e.write, e.status, e.timeout))
end
