-- Settle leases as done.
-- uses: now wake lanes fenced acked
-- ARGV[3...] leases. Returns the positions of those that were lost, and how many that come next in
-- their lanes were found trimmed away.
-- What a consumer read at once and acknowledges at once is exactly one page of its first
-- deliveries: comparing the two costs half of what `fenced` does.
local n, same = #ARGV - 2, 0
local page = redis.call('XPENDING', KEYS[1], ARGV[1], lease_of(ARGV[3]), '+', n, ARGV[2])
for i, entry in ipairs(page) do
  if entry[1] ~= ARGV[i + 2] or entry[4] ~= 1 then break end
  same = i
end
if same == n then return {{}, ack(ARGV, 3)} end
local owned, lost = fenced(3, #ARGV)
return {lost, ack(owned, 1)}
