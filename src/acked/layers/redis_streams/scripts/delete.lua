-- Delete entries of a stream, for all its groups, but for those that a consumer holds.
-- uses: now wake lanes precedes state_of
-- KEYS as for BROWSE; ARGV[1] how many groups there are, then their names, then the entries.
-- Returns the positions of those that are held.
local groups, delivered, time, held = tonumber(ARGV[1]), delivered_of(), now(), {}
for i = groups + 2, #ARGV do
  local id = ARGV[i]
  if state_of(id, 2, delivered, time) == 'held' then
    held[#held + 1] = i - groups - 2
  else
    redis.call('XDEL', KEYS[1], id)
    for group = 1, groups do
      local place = place_at(1, 5 * group - 3, ARGV[group + 1])
      redis.call('XACK', KEYS[1], ARGV[group + 1], id)
      redis.call('ZREM', place.moments, id)
      leave_lanes(place, {id}, 1)
    end
  end
end
return held
