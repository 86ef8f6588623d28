-- One request, the same each time, built once: wrk then spends its time on sockets, not in Lua.
-- Arguments: the file with the body, the file with one "Name: value" header a line (a token is no argument:
-- every process of the machine can read those).

local function content(path)
   local file = assert(io.open(path, "rb"))
   local text = file:read("*a")
   file:close()
   return text
end

function init(arguments)
   wrk.method = "POST"
   wrk.body = content(arguments[1])
   for name, value in content(arguments[2]):gmatch("([^:\n]+): ([^\n]+)") do
      wrk.headers[name] = value
   end
end

-- The last line of the output, as JSON. Times are microseconds, as wrk has them. "status" counts answers of 400
-- and more; what answered with less is counted where it was recorded.
function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"duration":%d,' ..
      '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d},' ..
      '"latency":{"min":%d,"mean":%.1f,"p50":%d,"p90":%d,"p99":%d,"p999":%d,"max":%d}}\n',
      summary.requests, summary.duration,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status,
      latency.min, latency.mean, latency:percentile(50), latency:percentile(90),
      latency:percentile(99), latency:percentile(99.9), latency.max))
end
