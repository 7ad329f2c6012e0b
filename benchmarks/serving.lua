-- Load for wrk: bodies drawn at random, and where PAUSE_MS is not 0, each connection waits a random
-- time of that mean between two requests. Many connections that do so independently ask like many
-- clients: at random instants, whether or not the answers before have come.
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do
  bodies[#bodies + 1] = line
end
local pause = tonumber(os.getenv("PAUSE_MS"))

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"

function request()
  return wrk.format(nil, nil, nil, bodies[math.random(#bodies)])
end

if pause > 0 then
  function delay()
    return math.random(0, 2 * pause)
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "wrong": %d, "p50": %f, "p99": %f, "max": %f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
