-- Returns how many of those that come next, where order is kept, were found trimmed away.
local function ack(ids, first, place)
  if #ids < first then return 0 end
  local stream, moments, lane_of = KEYS[1], KEYS[2], KEYS[5]
  if place then stream, moments, lane_of = place.stream, place.moments, place.lane_of end
  redis.call('XACK', stream, ARGV[1], unpack(ids, first))
  if redis.call('EXISTS', moments, lane_of) == 0 then return 0 end
  redis.call('ZREM', moments, unpack(ids, first))
  return leave_lanes(place or only_place(), ids, first)
end
