-- Returns how many of those that come next, where order is kept, were found trimmed away.
local function ack(ids, first)
  if #ids < first then return 0 end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids, first))
  if redis.call('EXISTS', KEYS[2], KEYS[5]) == 0 then return 0 end
  redis.call('ZREM', KEYS[2], unpack(ids, first))
  return leave_lanes(only_place(), ids, first)
end
