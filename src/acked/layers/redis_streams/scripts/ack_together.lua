-- Settle leases of several streams as done.
-- uses: now wake lanes fenced acked
-- KEYS are those of each stream, in turn; ARGV[3...] for each how many leases, and these. Returns for
-- each what ACK does, or 0 where it was refused, and nothing was settled: that is to be asked alone.
local replies, at = {}, 3

local function settle(place, first, last)
  local owned, lost = fenced(first, last, place.stream)
  return {lost, ack(owned, 1, place)}
end

for i = 1, #KEYS / 6 do
  local last = at + tonumber(ARGV[at])
  local worked, reply = pcall(settle, place_at(6 * i - 5, 6 * i - 4, ARGV[1]), at + 1, last)
  replies[i] = worked and reply or 0
  at = last + 1
end
return replies
