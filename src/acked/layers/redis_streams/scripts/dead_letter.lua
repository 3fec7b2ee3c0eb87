-- Publish a lease's dead letter and settle it, in one step.
-- uses: fenced acked
-- KEYS[5] the dead letters' stream; ARGV[3] one lease, ARGV[4...] the fields of its copy.
-- Returns what ACK does. An XADD that fails leaves all as it was.
local owned, lost = fenced(3, 3)
if #owned == 1 then
  redis.call('XADD', KEYS[5], '*', unpack(ARGV, 4))
  ack(owned, 1)
end
return {lost, 0}
