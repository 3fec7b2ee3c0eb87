-- Delete entries of a stream, for all its groups, but for those that a consumer holds.
-- uses: now precedes state_of
-- KEYS as for BROWSE; ARGV[1] how many groups there are, then their names, then the entries.
-- Returns the positions of those that are held.
local groups, delivered, time, held = tonumber(ARGV[1]), delivered_of(), now(), {}
for i = groups + 2, #ARGV do
  local id = ARGV[i]
  if state_of(id, 2, delivered, time) == 'held' then
    held[#held + 1] = i - groups - 2
  else
    redis.call('XDEL', KEYS[1], id)
    for k = 2, #KEYS do
      redis.call('XACK', KEYS[1], ARGV[k], id)
      redis.call('ZREM', KEYS[k], id)
    end
  end
end
return held
