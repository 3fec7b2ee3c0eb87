-- Publish a lease's dead letter and settle it, in one step.
-- uses: now wake lanes fenced acked
-- KEYS[7] the dead letters' stream; ARGV[3] one lease, ARGV[4...] the fields of its copy.
-- Returns what ACK does. An XADD that fails leaves all as it was.
local owned, lost = fenced(3, 3)
local trimmed = 0
if #owned == 1 then
  redis.call('XADD', KEYS[7], '*', unpack(ARGV, 4))
  trimmed = ack(owned, 1)
end
return {lost, trimmed}
